//! Image files made by the tests. The tests of `model` use this file too.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its own part; a test may panic")]

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};

/// An image file of that format.
pub(crate) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// Files that show the same thing as `image`, a light thing on black, in other ways.
pub(crate) fn other_clothes(image: &GrayImage) -> Vec<(&'static str, Vec<u8>)> {
    let (width, height) = image.dimensions();
    let scaled = |by: u32, filter| imageops::resize(image, width * by, height * by, filter);
    let inverted = |mut image: GrayImage| {
        imageops::invert(&mut image);
        image
    };
    let large = inverted(scaled(5, FilterType::CatmullRom));
    let colour = RgbImage::from_fn(width, height, |x, y| Rgb([image.get_pixel(x, y).0[0]; 3]));
    let mut padded = RgbaImage::from_pixel(400, 300, Rgba([255; 4]));
    let visitor = DynamicImage::ImageLuma8(large.clone()).to_rgba8();
    imageops::overlay(&mut padded, &visitor, 200, 90);
    // A ground that is neither black nor white, as a photograph has it, and a coloured thing.
    let on_grey = RgbImage::from_fn(large.width(), large.height(), |x, y| {
        let thing = u16::from(255 - large.get_pixel(x, y).0[0]);
        let level = |full: u16| (220 - thing * full / 255) as u8;
        Rgb([level(180), level(220), level(220)])
    });
    let bright =
        GrayImage::from_fn(width, height, |x, y| Luma([image.get_pixel(x, y).0[0].saturating_add(9)]));
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    let cases: [(&str, DynamicImage, ImageFormat); 12] = [
        ("png", image.clone().into(), Png),
        ("jpeg", image.clone().into(), Jpeg),
        ("webp", colour.clone().into(), WebP),
        ("gif", DynamicImage::ImageLuma8(image.clone()).to_rgba8().into(), Gif),
        ("bmp in colour", colour.into(), Bmp),
        ("upscaled", scaled(4, FilterType::Nearest).into(), Png),
        ("upscaled jpeg", scaled(4, FilterType::Triangle).into(), Jpeg),
        ("inverted", inverted(image.clone()).into(), Png),
        ("inverted and upscaled", large.into(), Jpeg),
        ("padded", padded.into(), Png),
        ("coloured on grey", on_grey.into(), Png),
        ("a little brighter", bright.into(), Png),
    ];
    cases.into_iter().map(|(name, image, format)| (name, encoded(&image, format))).collect()
}
