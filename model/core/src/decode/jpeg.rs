//! JPEG, by libjpeg-turbo's decoder, as small as preprocessing can do with: a photograph of 24 megapixels is decoded at a quarter of
//! its sides, from the low frequencies of each block, in a sixteenth of the memory and a fraction of the time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

use super::jpeg_header::Header;
use super::{Budget, ImageError, Picture, Size};

/// A picture is decoded smaller where its shorter side keeps this many times the pixels that are needed, so that resampling
/// still decides how it looks.
const SPARE: u32 = 2;

pub(super) fn decode(file: &[u8], budget: &Budget<'_>) -> Result<Picture, ImageError> {
    let header = Header::read(file)?;
    budget.dimensions(header.width, header.height)?;
    let eighths = eighths(header.width.min(header.height), budget.demand.shorter_side);
    let scaled = |side: u32| (side * u32::from(eighths)).div_ceil(8);
    let channels: u32 = if header.components.len() == 1 { 1 } else { 3 };
    let decoded_bytes = header.components.len() as u64;
    let size = Size {
        width: scaled(header.width),
        height: scaled(header.height),
        decoded_bytes,
        kept_bytes: channels.into(),
    };
    budget.bytes(if header.several_scans { header.coefficients() } else { 0 }, size)?;
    header.check_end(file)?;

    // libjpeg ends at its first error by unwinding, with the reason as the payload.
    let pixels = catch_unwind(AssertUnwindSafe(|| samples(file, eighths, header.components.len())));
    let (width, height, mut data) = pixels.unwrap_or_else(|payload| Err(reason(payload.as_ref())))?;
    if header.components.len() == 4 {
        inked_to_rgb(&mut data);
    }
    let extent = [header.width, header.height].map(|side| f64::from(side) * f64::from(eighths) / 8.0);
    Ok(Picture { width, height, channels, data, extent: extent.into(), orientation: header.orientation })
}

/// How many eighths of its sides a picture is decoded at. Those between are left out: they are slower than the next larger one.
fn eighths(shorter: u32, needed: u32) -> u8 {
    let enough = |eighths: &u8| shorter * u32::from(*eighths) >= 8 * SPARE * needed.max(1);
    [1, 2, 4].into_iter().find(enough).unwrap_or(8)
}

fn samples(file: &[u8], eighths: u8, components: usize) -> Result<(u32, u32, Vec<u8>), ImageError> {
    let failed = |error: std::io::Error| ImageError::broken(error.to_string());
    let mut decoder = Decompress::new_mem(file).map_err(failed)?;
    decoder.scale(eighths);
    let space = match components {
        1 => ColorSpace::JCS_GRAYSCALE,
        4 => ColorSpace::JCS_CMYK,
        _ => ColorSpace::JCS_RGB,
    };
    let mut decoder = decoder.to_colorspace(space).map_err(failed)?;
    let (width, height) = (decoder.width() as u32, decoder.height() as u32);
    let data = decoder.read_scanlines().map_err(failed)?;
    Ok((width, height, data))
}

/// Four inks to three lights, in the same memory. Adobe's files, which are all there are, hold the inks inverted.
fn inked_to_rgb(data: &mut Vec<u8>) {
    let count = data.len() / 4;
    for at in 0..count {
        let black = u32::from(data[4 * at + 3]);
        for channel in 0..3 {
            // At most 255: a share of a byte.
            data[3 * at + channel] = ((u32::from(data[4 * at + channel]) * black + 127) / 255) as u8;
        }
    }
    data.truncate(3 * count);
    data.shrink_to_fit();
}

fn reason(payload: &(dyn Any + Send)) -> ImageError {
    ImageError::broken(
        payload.downcast_ref::<String>().map_or("the JPEG decoder gave up", |text| text.as_str()),
    )
}
