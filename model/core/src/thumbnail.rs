//! A small picture of an image file, for people.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage, imageops};

use crate::decode::{Demand, ImageError, ImageLimits, decode};
use crate::turn::Turn;

/// Bytes a pixel of one more copy: grey made colour.
const COPY: u64 = 3;
/// JPEG's, of a hundred.
const QUALITY: u8 = 70;

/// The image as it is shown, upright and in colour, what is transparent on white, in a square of that many pixels at most: a JPEG file.
/// A large JPEG is decoded no larger than is needed.
///
/// # Errors
/// If the bytes are no image, a broken one, or one beyond the limits.
pub fn thumbnail(file: &[u8], side: u32, limits: &ImageLimits) -> Result<Vec<u8>, ImageError> {
    let side = side.max(1);
    let demand = Demand { shorter_side: side, bytes_a_row: 0, bytes_a_pixel: COPY };
    let mut picture = decode(file, limits, demand)?;
    picture.lay_on_white();
    let turn = Turn::from(picture.orientation);
    let pixels = picture.into_pixels();
    let (width, height) = (pixels.width, pixels.height);
    let data = match pixels.channels {
        1 => pixels.data.iter().flat_map(|&value| [value; 3]).collect(),
        _ => pixels.data,
    };
    let broken = || ImageError::Broken { reason: "it has fewer pixels than it says".to_owned() };
    let image = RgbImage::from_raw(width, height, data).ok_or_else(broken)?;
    let longer = width.max(height);
    // One that is small is left as it is; of a long one each side is a pixel at least.
    let fit = |length: u32| {
        u32::try_from(u64::from(length) * u64::from(side) / u64::from(longer)).unwrap_or(side).max(1)
    };
    let small = if longer > side { imageops::thumbnail(&image, fit(width), fit(height)) } else { image };
    let (width, height) = small.dimensions();
    let shown = turn.shown(crate::Pixels { width, height, channels: 3, data: small.into_raw() });
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&shown.data, shown.width, shown.height, ExtendedColorType::Rgb8)
        .map_err(|error| ImageError::Broken { reason: error.to_string() })?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    fn png(width: u32, height: u32, pixel: [u8; 4]) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        RgbaImage::from_pixel(width, height, Rgba(pixel)).write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn it_fits_in_its_square_and_nothing_shows_through() {
        let limits = ImageLimits::default();
        for ((width, height), (across, down)) in [
            ((400, 200), (96, 48)),
            ((200, 400), (48, 96)),
            ((1000, 3), (96, 1)),
            ((20, 10), (20, 10)),
            ((1, 1), (1, 1)),
        ] {
            let jpeg = thumbnail(&png(width, height, [200, 10, 10, 0]), 96, &limits).unwrap();
            assert!(jpeg.len() < 4096, "{} bytes", jpeg.len());
            let shown = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).unwrap().to_rgb8();
            assert_eq!(shown.dimensions(), (across, down));
            assert!(shown.pixels().all(|pixel| pixel.0.iter().all(|&value| value > 250)), "white");
        }
    }

    #[test]
    fn what_is_no_image_or_too_large_a_one_has_none() {
        let limits = ImageLimits { max_alloc_bytes: 100_000, ..ImageLimits::default() };
        assert_eq!(thumbnail(b"no image", 96, &limits), Err(ImageError::UnknownFormat));
        assert_eq!(thumbnail(b"", 96, &limits), Err(ImageError::Empty));
        assert!(matches!(thumbnail(&png(1000, 1000, [0; 4]), 96, &limits), Err(ImageError::TooLarge { .. })));
    }
}
