//! The images of a data set in other clothes: what pictures of the same things look like that come from somewhere else.
//!
//! An image's values `x` are from 0, the background, to 255; `v = x / 255`. The level `g` of a grey background and the direction of
//! the light are drawn for each image, from the seed and its place, so that the same seed gives the same files.

use std::f32::consts::TAU;
use std::fmt;
use std::io::Cursor;

use image::codecs::{jpeg, png};
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, GrayImage, ImageEncoder, ImageError};

/// A grey image's bytes, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Grey<'a> {
    /// One byte a pixel.
    pub pixels: &'a [u8],
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// What is made of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The image itself.
    Raw,
    /// `255 - x`.
    Negative,
    /// Dark on grey: `g (1 - v)`, g from 96 to 224.
    DarkOnGrey,
    /// Light on grey: `g (1 - v) + 255 v`, g from 32 to 160.
    LightOnGrey,
    /// Its own colour on grey, blended by its own light: `g (1 - v) + x v`, g from 96 to 160.
    OnGrey,
    /// [`OnGrey`](Self::OnGrey) times r from 0.8 at one side to 1.2 at the other, g from 96 to 160.
    OnGreyLit,
    /// Dark on grey that is lit from one side: `g (1 - v) r`, g from 160 to 208, r from 0.8 at one side to 1.2 at the other.
    Lit,
    /// Colour `x`, opacity `x`.
    TransparentSoft,
    /// Colour 255, opacity `x`.
    TransparentWhite,
    /// Colour `x`, opacity 255 where `x > 0`, else 0.
    TransparentLight,
    /// Colour `255 - x`, opacity 255 where `x > 0`, else 0.
    TransparentDark,
    /// Four times as wide and high, each pixel 16 times.
    EnlargedNearest,
    /// Four times as wide and high, bilinear.
    EnlargedBilinear,
    /// Four times as wide and high, bicubic.
    EnlargedBicubic,
    /// [`Lit`](Self::Lit), four times as wide and high, bicubic, as a JPEG of quality 85.
    EnlargedLitJpeg,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Raw,
        Self::Negative,
        Self::DarkOnGrey,
        Self::LightOnGrey,
        Self::OnGrey,
        Self::OnGreyLit,
        Self::Lit,
        Self::TransparentSoft,
        Self::TransparentWhite,
        Self::TransparentLight,
        Self::TransparentDark,
        Self::EnlargedNearest,
        Self::EnlargedBilinear,
        Self::EnlargedBicubic,
        Self::EnlargedLitJpeg,
    ];

    /// The image file of this variant of the image at `position` of its data set.
    ///
    /// # Errors
    /// If the encoder fails, as for lack of memory.
    pub fn file(self, image: Grey<'_>, seed: u64, position: usize) -> Result<Vec<u8>, ImageError> {
        let mut draw = Draw(seed ^ (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let Grey { pixels, width, height } = image;
        let grey = |value: &dyn Fn(f32) -> f32| -> Vec<u8> {
            // From 0 to 255 by the clamp.
            pixels.iter().map(|&x| value(f32::from(x)).round().clamp(0.0, 255.0) as u8).collect()
        };
        match self {
            Self::Raw => write_png(pixels, width, height, ExtendedColorType::L8),
            Self::Negative => write_png(&grey(&|x| 255.0 - x), width, height, ExtendedColorType::L8),
            Self::DarkOnGrey => {
                let g = draw.between(96.0, 224.0);
                write_png(&grey(&|x| g * (1.0 - x / 255.0)), width, height, ExtendedColorType::L8)
            }
            Self::LightOnGrey => {
                let g = draw.between(32.0, 160.0);
                write_png(&grey(&|x| g * (1.0 - x / 255.0) + x), width, height, ExtendedColorType::L8)
            }
            Self::OnGrey => {
                let g = draw.between(96.0, 160.0);
                write_png(&grey(&|x| blended(g, x)), width, height, ExtendedColorType::L8)
            }
            Self::OnGreyLit => {
                let g = draw.between(96.0, 160.0);
                let light = lit(image, &mut draw, |x| blended(g, x));
                write_png(&light, width, height, ExtendedColorType::L8)
            }
            Self::Lit => {
                let g = draw.between(160.0, 208.0);
                let light = lit(image, &mut draw, |x| g * (1.0 - x / 255.0));
                write_png(&light, width, height, ExtendedColorType::L8)
            }
            Self::TransparentSoft => write_cutout(image, |x| [x, x]),
            Self::TransparentWhite => write_cutout(image, |x| [255, x]),
            Self::TransparentLight => write_cutout(image, |x| [x, if x > 0 { 255 } else { 0 }]),
            Self::TransparentDark => write_cutout(image, |x| [255 - x, if x > 0 { 255 } else { 0 }]),
            Self::EnlargedNearest => write_enlarged(pixels, width, height, FilterType::Nearest),
            Self::EnlargedBilinear => write_enlarged(pixels, width, height, FilterType::Triangle),
            Self::EnlargedBicubic => write_enlarged(pixels, width, height, FilterType::CatmullRom),
            Self::EnlargedLitJpeg => {
                let g = draw.between(160.0, 208.0);
                let light = lit(image, &mut draw, |x| g * (1.0 - x / 255.0));
                let large = enlarged(&light, width, height, FilterType::CatmullRom);
                let mut file = Cursor::new(Vec::new());
                jpeg::JpegEncoder::new_with_quality(&mut file, 85).encode(
                    large.as_raw(),
                    large.width(),
                    large.height(),
                    ExtendedColorType::L8,
                )?;
                Ok(file.into_inner())
            }
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "as it is",
            Self::Negative => "negative",
            Self::DarkOnGrey => "dark on grey",
            Self::LightOnGrey => "light on grey",
            Self::OnGrey => "on grey, blended by its own light",
            Self::OnGreyLit => "on grey, blended by its own light, lit from one side",
            Self::Lit => "dark on grey, lit from one side",
            Self::TransparentSoft => "transparent, its light as opacity",
            Self::TransparentWhite => "transparent, white, its light as opacity",
            Self::TransparentLight => "transparent, light",
            Self::TransparentDark => "transparent, dark",
            Self::EnlargedNearest => "enlarged four times, nearest",
            Self::EnlargedBilinear => "enlarged four times, bilinear",
            Self::EnlargedBicubic => "enlarged four times, bicubic",
            Self::EnlargedLitJpeg => "enlarged four times, dark on grey, lit from one side, JPEG",
        })
    }
}

/// The thing's own colour over grey, as opaque as it is light.
fn blended(g: f32, x: f32) -> f32 {
    let v = x / 255.0;
    g * (1.0 - v) + x * v
}

/// Each value made another one, then times 0.8 at one side of the picture to 1.2 at the other.
fn lit(Grey { pixels, width, height }: Grey<'_>, draw: &mut Draw, value: impl Fn(f32) -> f32) -> Vec<u8> {
    let (sin, cos) = draw.between(0.0, TAU).sin_cos();
    let from_middle = |at: u32, side: u32| 2.0 * at as f32 / (side.max(2) - 1) as f32 - 1.0;
    let lit = |(at, &x): (usize, &u8)| {
        let (column, row) = (at as u32 % width, at as u32 / width);
        // 1 at the side that the light comes from, -1 at the opposite one.
        let towards =
            (cos * from_middle(column, width) + sin * from_middle(row, height)) / (cos.abs() + sin.abs());
        let ramp = 1.0 + 0.2 * towards;
        (value(f32::from(x)) * ramp).round().clamp(0.0, 255.0) as u8
    };
    pixels.iter().enumerate().map(lit).collect()
}

fn enlarged(pixels: &[u8], width: u32, height: u32, filter: FilterType) -> GrayImage {
    let image = GrayImage::from_raw(width, height, pixels.to_vec()).unwrap_or_default();
    imageops::resize(&image, 4 * width, 4 * height, filter)
}

fn write_enlarged(pixels: &[u8], width: u32, height: u32, filter: FilterType) -> Result<Vec<u8>, ImageError> {
    let large = enlarged(pixels, width, height, filter);
    write_png(large.as_raw(), large.width(), large.height(), ExtendedColorType::L8)
}

/// `pixel` gives the colour and the opacity for a value.
fn write_cutout(image: Grey<'_>, pixel: impl Fn(u8) -> [u8; 2]) -> Result<Vec<u8>, ImageError> {
    let data: Vec<u8> = image.pixels.iter().flat_map(|&x| pixel(x)).collect();
    write_png(&data, image.width, image.height, ExtendedColorType::La8)
}

fn write_png(data: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Result<Vec<u8>, ImageError> {
    let mut file = Cursor::new(Vec::new());
    png::PngEncoder::new_with_quality(&mut file, png::CompressionType::Fast, png::FilterType::NoFilter)
        .write_image(data, width, height, colour)?;
    Ok(file.into_inner())
}

/// SplitMix64 (<https://doi.org/10.1145/2714064.2660195>): a few numbers for each image, the same in each release of anything.
struct Draw(u64);

impl Draw {
    fn between(&mut self, least: f32, most: f32) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        least + (most - least) * ((z >> 40) as f32 / (1 << 24) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(variant: Variant, seed: u64, position: usize) -> Vec<u8> {
        let pixels: Vec<u8> = (0..36).map(|at| if at % 6 < 2 { 0 } else { 7 * at }).collect();
        variant.file(Grey { pixels: &pixels, width: 6, height: 6 }, seed, position).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_files_and_another_others() {
        for variant in Variant::ALL {
            assert_eq!(file(variant, 1, 5), file(variant, 1, 5), "{variant}");
        }
        for variant in [Variant::DarkOnGrey, Variant::LightOnGrey, Variant::Lit] {
            assert_ne!(file(variant, 1, 5), file(variant, 1, 6), "{variant}");
            assert_ne!(file(variant, 1, 5), file(variant, 2, 5), "{variant}");
        }
    }

    #[test]
    fn formulas_hold_at_black_and_white() {
        let at = |variant: Variant, x: u8| {
            let file = variant.file(Grey { pixels: &[x], width: 1, height: 1 }, 1, 0).unwrap();
            image::load_from_memory(&file).unwrap().to_luma_alpha8().get_pixel(0, 0).0
        };
        assert_eq!((at(Variant::Negative, 0), at(Variant::Negative, 255)), ([255, 255], [0, 255]));
        assert_eq!(at(Variant::DarkOnGrey, 255), [0, 255]);
        assert!((96..=224).contains(&at(Variant::DarkOnGrey, 0)[0]));
        assert_eq!(at(Variant::LightOnGrey, 255), [255, 255]);
        assert!((32..=160).contains(&at(Variant::LightOnGrey, 0)[0]));
        assert_eq!(at(Variant::OnGrey, 255), [255, 255]);
        assert!((96..=160).contains(&at(Variant::OnGrey, 0)[0]));
        // As the background where it is as light as that: half of 128 is taken away by half, and half given back.
        assert_eq!(
            (blended(128.0, 0.0), blended(127.5, 127.5), blended(100.0, 255.0)),
            (128.0, 127.5, 255.0)
        );
        assert_eq!((at(Variant::TransparentSoft, 0), at(Variant::TransparentSoft, 9)), ([0, 0], [9, 9]));
        assert_eq!(at(Variant::TransparentDark, 9), [246, 255]);
    }
}
