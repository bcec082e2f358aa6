//! Image files of all kinds become the net's input, or a clear error; never a panic.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod photographs;
mod pictures;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use model_core::{ImageError, ImageLimits, Pixels, Preprocessor};
use photographs::{grey, preprocessor};
use pictures::{encoded, other_clothes};
use proptest::prelude::*;
use registry::{Fit, Input, Interpolation, Layout, Order, Polarity};

/// A path of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The whole image as `size` x `size` pixels of colour.
fn thumbnails(size: u32) -> Preprocessor {
    preprocessor(Input {
        size,
        channels: 3,
        order: Order::Rgb,
        layout: Layout::Nchw,
        fit: Fit::Stretch,
        crop: None,
        interpolation: Interpolation::Bilinear,
        polarity: Polarity::AsIs,
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
    })
}

fn decode(preprocessor: &Preprocessor, file: &[u8]) -> Result<Pixels, ImageError> {
    preprocessor.decode(file, &ImageLimits::default())
}

/// The mean difference of two images' bytes.
fn difference(a: &Pixels, b: &[u8]) -> f64 {
    assert_eq!(a.data.len(), b.len());
    let sum: u64 = a.data.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / b.len() as f64
}

#[test]
fn awkward_files_look_as_pillow_sees_them_or_are_refused() {
    // Pillow decodes it; here the format is not taken.
    let refused_here_only = "tiff_16bit_RGB.tiff";
    let golden: BTreeMap<String, Option<Vec<u8>>> =
        serde_json::from_str(&fs::read_to_string(project("model/core/tests/fixtures.json")).unwrap())
            .unwrap();
    assert!(golden.len() > 20, "the golden file is not whole");
    let mut wrong = Vec::new();
    for (name, expected) in golden {
        let file = fs::read(project("model/core/tests/fixtures").join(&name)).unwrap();
        let found = decode(&thumbnails(8), &file);
        println!("{name}: {:?}", found.as_ref().map(|f| expected.as_ref().map(|e| difference(f, e))));
        let as_expected = match (&found, expected) {
            (Ok(pixels), Some(expected)) => difference(pixels, &expected) < 4.0,
            (Err(_), expected) => expected.is_none() || name == refused_here_only,
            (Ok(_), None) => false,
        };
        if !as_expected {
            wrong.push((name, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn each_kind_of_bad_file_has_its_error() {
    let file = |name: &str| fs::read(project("model/core/tests/fixtures").join(name)).unwrap();
    let error = |bytes: &[u8]| decode(&thumbnails(8), bytes).unwrap_err();
    assert_eq!(error(b""), ImageError::Empty);
    assert_eq!(error(b"a letter to the editor"), ImageError::UnknownFormat);
    assert!(matches!(error(&file("tiff_16bit_RGB.tiff")), ImageError::Unsupported { .. }));
    assert!(matches!(error(&file("truncated_jpeg.jpg")), ImageError::Broken { .. }));
    assert!(matches!(error(&file("broken.png")), ImageError::Broken { .. }));
    assert!(matches!(error(&bomb()), ImageError::TooLarge { .. }));
}

/// A few bytes that say they are 60,000 x 60,000 pixels.
fn bomb() -> Vec<u8> {
    let mut file = encoded(&DynamicImage::new_luma8(1, 1), ImageFormat::Bmp);
    file[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
    file
}

#[test]
fn an_image_cut_off_anywhere_is_refused() {
    let image = DynamicImage::ImageRgb8(RgbImage::from_fn(40, 30, |x, y| {
        Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8])
    }));
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let file = encoded(&image, format);
        assert!(decode(&thumbnails(8), &file).is_ok());
        for end in [file.len() / 4, file.len() / 2, file.len() * 9 / 10] {
            assert!(decode(&thumbnails(8), &file[..end]).is_err(), "{format:?} of {end} bytes");
        }
    }
}

#[test]
fn limits_are_held_at_their_edge() {
    let image = DynamicImage::ImageLuma8(GrayImage::new(64, 32));
    let file = encoded(&image, ImageFormat::Png);
    let with = |max_width, max_height, max_alloc_bytes| {
        let limits = ImageLimits { max_width, max_height, max_alloc_bytes };
        thumbnails(8).decode(&file, &limits)
    };
    assert!(with(64, 32, 1 << 20).is_ok());
    for limits in [with(63, 32, 1 << 20), with(64, 31, 1 << 20), with(64, 32, 2047)] {
        assert!(matches!(limits, Err(ImageError::TooLarge { .. })), "{limits:?}");
    }
}

#[test]
fn transparent_is_white() {
    let image = RgbaImage::from_fn(8, 8, |x, _| Rgba([200, 0, 0, if x < 4 { 255 } else { 0 }]));
    let file = encoded(&DynamicImage::ImageRgba8(image), ImageFormat::Png);
    let pixels = decode(&thumbnails(8), &file).unwrap();
    assert_eq!(pixels.data[..3], [200, 0, 0]);
    assert_eq!(pixels.data[7 * 3..8 * 3], [255, 255, 255]);
}

/// A PNG whose EXIF block is hexadecimal text, as ImageMagick writes it: in a chunk of that name, packed or not.
fn with_profile(image: &DynamicImage, packed: bool, orientation: u8) -> Vec<u8> {
    let exif =
        [b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation, 0, 0, 0, 0, 0, 0][..]]
            .concat();
    let digits: Vec<String> = exif.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = digits.chunks(10).map(<[String]>::concat).collect();
    let text = format!("\nexif\n{:8}\n{}\n", exif.len(), lines.join("\n"));
    let mut data = b"Raw profile type exif\0".to_vec();
    if packed {
        data.push(0);
        let mut encoder = ZlibEncoder::new(&mut data, Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
    } else {
        data.extend(text.as_bytes());
    }
    let body = [if packed { &b"zTXt"[..] } else { b"tEXt" }, &data].concat();
    let mut sum = Crc::new();
    sum.update(&body);
    let chunk = [&(data.len() as u32).to_be_bytes()[..], &body, &sum.sum().to_be_bytes()].concat();
    // Before the end, which is twelve bytes.
    let mut file = encoded(image, ImageFormat::Png);
    file.splice(file.len() - 12..file.len() - 12, chunk);
    file
}

#[test]
fn a_png_is_turned_as_the_text_says_that_imagemagick_writes() {
    let mut image: DynamicImage =
        RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, 90])).into();
    let files = [false, true].map(|packed| with_profile(&image, packed, 6));
    image.apply_orientation(image::metadata::Orientation::Rotate90);
    let expected = decode(&thumbnails(8), &encoded(&image, ImageFormat::Png)).unwrap();
    for file in files {
        let difference = difference(&decode(&thumbnails(8), &file).unwrap(), &expected.data);
        assert!(difference < 1.0, "{difference}");
    }
}

/// A thing in the manner of Fashion-MNIST: as wide as the image, light on black, with a slope and a gap.
fn sandal() -> GrayImage {
    GrayImage::from_fn(28, 28, |x, y| {
        let inside = y >= 9 && y < 11 + x / 3 && !(x > 8 && x < 14 && y < 12);
        Luma([if inside { (90 + 5 * x) as u8 } else { 0 }])
    })
}

#[test]
fn a_picture_of_the_data_set_is_not_changed() {
    let file = encoded(&sandal().into(), ImageFormat::Png);
    assert_eq!(decode(&grey(28), &file).unwrap().data, sandal().into_raw());
}

#[test]
fn the_same_sandal_in_other_clothes_is_the_same_sandal() {
    for (name, file) in other_clothes(&sandal()) {
        let pixels = decode(&grey(28), &file).unwrap();
        assert_eq!((pixels.width, pixels.height, pixels.channels), (28, 28, 1));
        let difference = difference(&pixels, sandal().as_raw());
        println!("{name}: {difference}");
        // A shift by one pixel, which padding may bring, costs about 10; another thing more than 30.
        assert!(difference < 12.0, "{name}: mean difference {difference}");
    }
}

#[test]
fn an_image_of_nothing_is_black() {
    for level in [0, 128, 255] {
        let blank = GrayImage::from_pixel(50, 70, Luma([level]));
        let pixels = decode(&grey(28), &encoded(&blank.into(), ImageFormat::Png)).unwrap();
        assert!(pixels.data.iter().all(|&value| value == 0), "a ground of {level}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        head in prop::sample::select(vec![
            &b""[..], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"RIFF\x20\0\0\0WEBPVP8 ", b"RIFF\x20\0\0\0WEBPVP8L",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let file = [head, &tail].concat();
        if let Ok(pixels) = decode(&grey(28), &file) {
            prop_assert_eq!(pixels.data.len(), 28 * 28);
        }
    }

    #[test]
    fn a_damaged_image_never_panics(
        format in prop::sample::select(vec![
            ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP,
        ]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = encoded(&RgbaImage::from_fn(9, 7, |x, y| Rgba([x as u8, y as u8, 7, 255])).into(), ImageFormat::Png);
        if format != ImageFormat::Png {
            let image = image::load_from_memory(&file).unwrap();
            file = encoded(&DynamicImage::ImageRgb8(image.to_rgb8()), format);
        }
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(pixels) = decode(&thumbnails(8), &file) {
            prop_assert_eq!(pixels.data.len(), 8 * 8 * 3);
        }
    }
}
