//! A picture as people see it: turned as EXIF says, in colour, what is transparent on white.

use crate::Pixels;
use crate::decode::{Demand, ImageError, ImageLimits, decode, sides};
use crate::turn::Turn;

/// A JPEG too large for the limits is decoded smaller: so many pixels of its shorter side at least are asked for, one after the other.
const SHORTER_SIDES: [u32; 3] = [1 << 20, 1024, 256];
/// Bytes a pixel of one more copy: turned, or grey made colour.
const COPY: u64 = 3;

/// A picture as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// In red, green and blue. A large JPEG may have fewer than the file.
    pub pixels: Pixels,
    /// Pixels across that the file has, as it is shown.
    pub width: u32,
    /// Pixels down that the file has, as it is shown.
    pub height: u32,
}

/// Decodes an image file to what is shown of it.
///
/// # Errors
/// If the bytes are no image, a broken one, or one beyond the limits.
pub fn shown(file: &[u8], limits: &ImageLimits) -> Result<Shown, ImageError> {
    let mut decoded = Err(ImageError::Empty);
    for shorter_side in SHORTER_SIDES {
        decoded = decode(file, limits, Demand { shorter_side, bytes_a_row: 0, bytes_a_pixel: COPY });
        if !matches!(decoded, Err(ImageError::TooLarge { .. })) {
            break;
        }
    }
    let mut picture = decoded?;
    picture.lay_on_white();
    let turn = Turn::from(picture.orientation);
    let (width, height) = sides(file).unwrap_or((picture.width, picture.height));
    let (width, height) = turn.sides(width, height);
    let pixels = turn.shown(picture.into_pixels());
    let pixels = if pixels.channels == 1 {
        let data = pixels.data.iter().flat_map(|&value| [value; 3]).collect();
        Pixels { channels: 3, data, ..pixels }
    } else {
        pixels
    };
    Ok(Shown { pixels, width, height })
}
