//! From an image file to the pixels that a net takes, as its manifest describes. No tensor yet, so this runs on any thread.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, RgbImage};
use registry::{Fit, Input, Interpolation, Manifest, Polarity};

use crate::decode::{ImageError, ImageLimits, decode};
use crate::{Pixels, background};

/// Why an image can't be prepared as a manifest asks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// Neither grey nor colour.
    #[error(
        "this build can't prepare images of {channels} channels: 1 (grey) and 3 (red, green, blue) are known"
    )]
    Channels {
        /// What the manifest asks for.
        channels: u32,
    },
}

/// Turns image files into [`Pixels`] for one model version.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    input: Input,
}

impl Preprocessor {
    /// The preprocessing that `manifest` describes.
    ///
    /// # Errors
    /// If this build has no such preprocessing.
    pub fn new(manifest: &Manifest) -> Result<Self, PreprocessError> {
        let input = manifest.input.clone();
        if input.channels != 1 && input.channels != 3 {
            return Err(PreprocessError::Channels { channels: input.channels });
        }
        Ok(Self { input })
    }

    /// Decodes an image file (PNG, JPEG, WebP, GIF or BMP; the first frame) and makes it the net's input.
    ///
    /// # Errors
    /// If the bytes are no image, a broken one, or one beyond the limits.
    pub fn decode(&self, file: &[u8], limits: &ImageLimits) -> Result<Pixels, ImageError> {
        self.prepare(decode(file, limits)?)
    }

    fn prepare(&self, image: DynamicImage) -> Result<Pixels, ImageError> {
        let pixels = if self.input.channels == 1 { grey(image) } else { colour(image) };
        let size = self.input.size;
        let exact = pixels.width == size && pixels.height == size;
        match self.input.fit {
            Fit::TrimAndPad if exact => Ok(self.oriented_light(pixels)),
            Fit::TrimAndPad => self.trim_and_pad(&pixels),
            Fit::Stretch if exact => Ok(self.oriented_light(pixels)),
            Fit::Stretch => {
                let whole = Area::whole(&pixels);
                self.resized(&pixels, whole, size, size).map(|pixels| self.oriented_light(pixels))
            }
            Fit::CentreCrop => {
                let share = f64::from(self.input.crop.unwrap_or(1.0));
                let area = Area::centre(&pixels, size, share);
                self.resized(&pixels, area, size, size).map(|pixels| self.oriented_light(pixels))
            }
        }
    }

    fn oriented_light(&self, mut pixels: Pixels) -> Pixels {
        if self.input.polarity == Polarity::LightOnDark && background::is_light(&pixels) {
            pixels.data.iter_mut().for_each(|value| *value = !*value);
        }
        pixels
    }

    fn trim_and_pad(&self, pixels: &Pixels) -> Result<Pixels, ImageError> {
        let size = self.input.size;
        let mut square = Pixels::black(size, pixels.channels);
        let Some(mut thing) = background::trim(pixels) else {
            return Ok(square);
        };
        if self.input.polarity == Polarity::LightOnDark {
            background::lighten(&mut thing);
        }
        let longer = f64::from(thing.pixels.width.max(thing.pixels.height));
        let side =
            |length: u32| ((f64::from(length) * f64::from(size) / longer).round() as u32).clamp(1, size);
        let (width, height) = (side(thing.pixels.width), side(thing.pixels.height));
        let whole = Area::whole(&thing.pixels);
        let small = self.resized(&thing.pixels, whole, width, height)?;
        // The odd row or column goes to the left and the top, as in the data set.
        let (left, top) = ((size - width).div_ceil(2), (size - height).div_ceil(2));
        let row = (width * small.channels) as usize;
        for (y, line) in small.data.chunks_exact(row).enumerate() {
            let start = (((top as usize + y) * size as usize) + left as usize) * small.channels as usize;
            square.data[start..start + row].copy_from_slice(line);
        }
        Ok(square)
    }

    fn resized(&self, pixels: &Pixels, area: Area, width: u32, height: u32) -> Result<Pixels, ImageError> {
        let filter = match self.input.interpolation {
            Interpolation::Bilinear => FilterType::Bilinear,
            Interpolation::Bicubic => FilterType::CatmullRom,
            Interpolation::Lanczos => FilterType::Lanczos3,
        };
        let kind = if pixels.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
        let broken = |reason: String| ImageError::Broken { reason };
        let from = ImageRef::new(pixels.width, pixels.height, &pixels.data, kind)
            .map_err(|error| broken(error.to_string()))?;
        let mut to = Image::new(width, height, kind);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .crop(area.left, area.top, area.width, area.height)
            .use_alpha(false);
        Resizer::new().resize(&from, &mut to, &options).map_err(|error| broken(error.to_string()))?;
        Ok(Pixels { width, height, channels: pixels.channels, data: to.into_vec() })
    }
}

/// A part of an image, in pixels and fractions of them.
#[derive(Clone, Copy, Debug)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn whole(pixels: &Pixels) -> Self {
        Self { left: 0.0, top: 0.0, width: f64::from(pixels.width), height: f64::from(pixels.height) }
    }

    /// The square that is left when the shorter side is made `size / share` pixels long and the middle `size` x `size` kept. Rounded
    /// where torchvision's `Resize` and `CenterCrop` round, so that one step gives what those two give.
    fn centre(pixels: &Pixels, size: u32, share: f64) -> Self {
        let (width, height) = (f64::from(pixels.width), f64::from(pixels.height));
        let (size, shorter) = (f64::from(size), width.min(height));
        let resized = (size / share).round();
        let part = |side: f64| {
            let new = (resized * side / shorter).floor();
            let scale = side / new;
            (((new - size) / 2.0).round_ties_even() * scale, size * scale)
        };
        let ((left, width), (top, height)) = (part(width), part(height));
        Self { left, top, width, height }
    }
}

fn colour(image: DynamicImage) -> Pixels {
    // No copy where the decoder gave this already.
    let rgb = if image.color().has_alpha() { on_white(&image) } else { image.into_rgb8() };
    Pixels { width: rgb.width(), height: rgb.height(), channels: 3, data: rgb.into_raw() }
}

fn grey(image: DynamicImage) -> Pixels {
    if let DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_) = image {
        let luma = image.into_luma8();
        return Pixels { width: luma.width(), height: luma.height(), channels: 1, data: luma.into_raw() };
    }
    let rgb = colour(image);
    // Rec. 601 in 16-bit fixed point, as Pillow's "L".
    let luma = |pixel: &[u8]| {
        let [r, g, b] = [0, 1, 2].map(|channel| u32::from(pixel[channel]));
        ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
    };
    let data = rgb.data.chunks_exact(3).map(luma).collect();
    Pixels { channels: 1, data, ..rgb }
}

/// The image laid on white where it is transparent.
fn on_white(image: &DynamicImage) -> RgbImage {
    let rgba = image.to_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let alpha = u32::from(from[3]);
        for channel in 0..3 {
            let blended = (u32::from(from[channel]) * alpha + 255 * (255 - alpha) + 127) / 255;
            // At most 255: a mean of two bytes, weighted.
            to[channel] = blended as u8;
        }
    }
    rgb
}
