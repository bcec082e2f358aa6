//! PNG, WebP, GIF and BMP, by the crate `image`.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader};

use super::{Budget, ImageError, Picture, Size, picture, png_profile, webp};

pub(super) fn decode(file: &[u8], format: ImageFormat, budget: &Budget<'_>) -> Result<Picture, ImageError> {
    // The decoder of WebP sees only the canvas, and would allocate what the frame in it says.
    let beside = if format == ImageFormat::WebP { webp::beside(file)? } else { 0 };
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.no_limits();
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    budget.dimensions(width, height)?;
    let (channels, wide) = match decoder.color_type() {
        ColorType::L8 => (1, false),
        ColorType::La8 => (2, false),
        ColorType::Rgb8 => (3, false),
        ColorType::Rgba8 => (4, false),
        ColorType::L16 => (1, true),
        ColorType::La16 => (2, true),
        ColorType::Rgb16 => (3, true),
        ColorType::Rgba16 => (4, true),
        other => return Err(ImageError::Unsupported { reason: format!("its pixels are {other:?}") }),
    };
    let decoded_bytes = u64::from(channels) * if wide { 2 } else { 1 };
    // Transparency is kept where a thing may be cut out by it.
    let opaque = if channels > 2 { 3 } else { 1 };
    let kept_bytes = if budget.demand.bytes_a_pixel > 0 { u64::from(channels) } else { opaque };
    budget.bytes(beside, Size { width, height, decoded_bytes, kept_bytes })?;
    // The rest is for what only the decoder finds: a GIF's frame that is not its canvas, a PNG's long texts.
    let pixels = decoder.total_bytes();
    let mut rest = image::Limits::no_limits();
    rest.max_alloc = Some(budget.limits.max_alloc_bytes.saturating_sub(beside + pixels));
    decoder.set_limits(rest).map_err(|error| too_large(error, budget))?;

    let orientation = orientation(&mut decoder, file, format);
    let too_many = || ImageError::broken("it is larger than this machine can count");
    let mut data = vec![0; usize::try_from(pixels).map_err(|_| too_many())?];
    decoder.read_image(&mut data).map_err(|error| too_large(error, budget))?;
    if wide {
        picture::to_eight_bits(&mut data);
    }
    let extent = (f64::from(width), f64::from(height));
    Ok(Picture { width, height, channels, data, extent, orientation })
}

/// How the picture is to be turned. An EXIF block that makes no sense is no reason to refuse it.
fn orientation(decoder: &mut impl ImageDecoder, file: &[u8], format: ImageFormat) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten();
    let profile = || if format == ImageFormat::Png { png_profile::exif(file) } else { None };
    let exif = exif.or_else(profile).unwrap_or_default();
    // WebP files often keep the marker that only JPEG asks for.
    let block = exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif);
    Orientation::from_exif_chunk(block).unwrap_or(Orientation::NoTransforms)
}

fn too_large(error: image::ImageError, budget: &Budget<'_>) -> ImageError {
    match error {
        image::ImageError::Limits(_) => ImageError::TooLarge {
            reason: format!(
                "decoding it takes more than the {} bytes of memory that are given (max_alloc_bytes)",
                budget.limits.max_alloc_bytes
            ),
        },
        other => explain(other),
    }
}

fn explain(error: image::ImageError) -> ImageError {
    match error {
        image::ImageError::Unsupported(unsupported) => {
            ImageError::Unsupported { reason: unsupported.to_string() }
        }
        other => ImageError::broken(other.to_string()),
    }
}
