//! An image file's bytes to a picture: within limits, and never a panic.
//!
//! What a file takes is computed from its headers before anything is allocated, for the whole of the decode: the pixels, what
//! the decoder keeps beside them, and what preprocessing makes of them. A file that would take more is refused, at the cost of
//! reading a few hundred bytes. `jpeg` decodes JPEG, smaller than it is where that is enough; `others` the rest, `webp` with more
//! care than its decoder takes.

mod jpeg;
mod jpeg_header;
mod jpeg_memory;
mod others;
mod picture;
mod png_profile;
mod webp;

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::ImageFormat;

pub(crate) use picture::{Picture, luma};

/// How much one image may ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ImageLimits {
    /// Pixels across.
    pub max_width: u32,
    /// Pixels down.
    pub max_height: u32,
    /// Bytes that decoding and preprocessing one image may hold at any one time; the file itself not counted, nor the few rows
    /// that every decoder works in.
    pub max_alloc_bytes: u64,
}

impl Default for ImageLimits {
    /// 16384 x 16384 pixels and 64 MiB. The second is the tighter one, except for JPEG, which is decoded smaller than it is.
    fn default() -> Self {
        Self { max_width: 16_384, max_height: 16_384, max_alloc_bytes: 64 << 20 }
    }
}

/// Why bytes gave no image. Sending the same bytes again can never succeed, except where a limit is raised.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There are no bytes.
    #[error("the image is empty: send the bytes of a PNG, JPEG, WebP, GIF or BMP file")]
    Empty,
    /// The first bytes are those of no format known here.
    #[error("this is no image file of a known format: send a PNG, JPEG, WebP, GIF or BMP file")]
    UnknownFormat,
    /// The format is known, this kind of it is not.
    #[error("this kind of image is not supported: {reason}")]
    Unsupported {
        /// What is not supported.
        reason: String,
    },
    /// The image is larger than the limits allow.
    #[error("the image is too large: {reason}")]
    TooLarge {
        /// Which limit, and what it is.
        reason: String,
    },
    /// The file ends before its image does, or contradicts itself.
    #[error("the image is broken: {reason}")]
    Broken {
        /// What the decoder met.
        reason: String,
    },
}

impl ImageError {
    fn broken(reason: impl Into<String>) -> Self {
        Self::Broken { reason: reason.into() }
    }
}

/// What preprocessing will do with the picture: how many pixels it can use, and what it needs beside them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Pixels of the shorter side that are as good as any number more.
    pub(crate) shorter_side: u32,
    /// Bytes of scratch for each row of the picture ...
    pub(crate) bytes_a_row: u64,
    /// ... and for each pixel.
    pub(crate) bytes_a_pixel: u64,
}

/// Decodes the first frame. Its orientation is told, not applied, and what is transparent stays so.
pub(crate) fn decode(file: &[u8], limits: &ImageLimits, demand: Demand) -> Result<Picture, ImageError> {
    // The decoders are other people's code, fed with anyone's bytes: a panic in one must not end the thread that serves all.
    catch_unwind(AssertUnwindSafe(|| by_format(file, &Budget { limits, demand })))
        .unwrap_or_else(|_| Err(ImageError::broken("the decoder gave up")))
}

/// The sides that a file has which may be decoded smaller than it is, not turned.
pub(crate) fn sides(file: &[u8]) -> Option<(u32, u32)> {
    let jpeg = matches!(image::guess_format(file), Ok(ImageFormat::Jpeg));
    let header = jpeg.then(|| jpeg_header::Header::read(file).ok()).flatten()?;
    Some((header.width, header.height))
}

fn by_format(file: &[u8], budget: &Budget<'_>) -> Result<Picture, ImageError> {
    if file.is_empty() {
        return Err(ImageError::Empty);
    }
    if let Some(name) = refused_by_name(file) {
        let reason = format!("{name}; send it as JPEG, PNG, WebP, GIF or BMP");
        return Err(ImageError::Unsupported { reason });
    }
    match image::guess_format(file) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(file, budget),
        Ok(format) => others::decode(file, format, budget),
        Err(_) => Err(ImageError::UnknownFormat),
    }
}

/// What phones and browsers make that is not decoded here, by the brand in its first box (ISO 14496-12) or its signature.
fn refused_by_name(file: &[u8]) -> Option<&'static str> {
    if file.starts_with(b"\0\0\0\x0cJXL \r\n\x87\n") || file.starts_with(b"\xff\x0a") {
        return Some("JPEG XL");
    }
    if file.starts_with(b"II*\0") || file.starts_with(b"MM\0*") {
        return Some("TIFF");
    }
    let brand = file.get(8..12).filter(|_| file.get(4..8) == Some(b"ftyp"))?;
    match brand {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some("HEIC"),
        // The brand of the container alone: what is in it stands among the compatible ones.
        b"mif1" | b"msf1" => {
            let length = u32::from_be_bytes(file.get(..4)?.try_into().ok()?) as usize;
            let brands = file.get(16..length.min(file.len())).unwrap_or_default();
            let avif = brands.chunks_exact(4).any(|brand| brand == b"avif" || brand == b"avis");
            Some(if avif { "AVIF" } else { "HEIC" })
        }
        _ => None,
    }
}

/// The limits, held against what a file's headers say.
struct Budget<'a> {
    limits: &'a ImageLimits,
    demand: Demand,
}

impl Budget<'_> {
    /// Whether a picture of that size may be decoded at all.
    fn dimensions(&self, width: u32, height: u32) -> Result<(), ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::broken(format!("it says that it is {width} x {height}")));
        }
        let ImageLimits { max_width, max_height, .. } = *self.limits;
        if width > max_width || height > max_height {
            let reason = format!(
                "it is {width} x {height} pixels, and at most {max_width} x {max_height} are taken (max_width, max_height)"
            );
            return Err(ImageError::TooLarge { reason });
        }
        Ok(())
    }

    /// Whether the decoder may hold `beside` bytes and the picture, and afterwards preprocessing what it needs and the picture.
    fn bytes(&self, beside: u64, picture: Size) -> Result<(), ImageError> {
        let pixels = u64::from(picture.width) * u64::from(picture.height);
        let decoding = beside.saturating_add(pixels * picture.decoded_bytes);
        let scratch =
            u64::from(picture.height) * self.demand.bytes_a_row + pixels * self.demand.bytes_a_pixel;
        let preparing = pixels * picture.kept_bytes + scratch;
        let (takes, limit) = (decoding.max(preparing), self.limits.max_alloc_bytes);
        if takes > limit {
            let reason = format!(
                "decoding it takes {takes} bytes of memory, and at most {limit} are given (max_alloc_bytes)"
            );
            return Err(ImageError::TooLarge { reason });
        }
        Ok(())
    }
}

/// A picture's size in memory.
#[derive(Clone, Copy, Debug)]
struct Size {
    width: u32,
    height: u32,
    /// Bytes a pixel as the decoder gives them.
    decoded_bytes: u64,
    /// Bytes a pixel once they are eight bits a channel.
    kept_bytes: u64,
}
