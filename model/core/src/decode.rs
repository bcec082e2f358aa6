//! An image file's bytes to an image: within limits, the right way up, and never a panic.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

/// How much one image may ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ImageLimits {
    /// Pixels across.
    pub max_width: u32,
    /// Pixels down.
    pub max_height: u32,
    /// Bytes of decoded pixels, and of whatever the decoder keeps beside them.
    pub max_alloc_bytes: u64,
}

impl Default for ImageLimits {
    /// 8192 x 8192 pixels and 64 MiB.
    fn default() -> Self {
        Self { max_width: 8192, max_height: 8192, max_alloc_bytes: 64 << 20 }
    }
}

/// Why bytes gave no image. Sending the same bytes again can never succeed.
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

/// Decodes the first frame and turns it as its EXIF orientation says. What is transparent stays so.
pub(crate) fn decode(file: &[u8], limits: &ImageLimits) -> Result<DynamicImage, ImageError> {
    // The decoders are other people's code, fed with anyone's bytes: a panic in one must not end the thread that serves all.
    catch_unwind(AssertUnwindSafe(|| decode_oriented(file, limits)))
        .unwrap_or_else(|_| Err(ImageError::Broken { reason: "the decoder gave up".into() }))
}

fn decode_oriented(file: &[u8], limits: &ImageLimits) -> Result<DynamicImage, ImageError> {
    if file.is_empty() {
        return Err(ImageError::Empty);
    }
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| ImageError::Broken { reason: error.to_string() })?;
    let format = reader.format().ok_or(ImageError::UnknownFormat)?;
    if format == ImageFormat::Jpeg && !jpeg_ends(file) {
        return Err(ImageError::Broken { reason: "the JPEG is cut off: its end is missing".into() });
    }
    let mut allowed = image::Limits::default();
    allowed.max_image_width = Some(limits.max_width);
    allowed.max_image_height = Some(limits.max_height);
    allowed.max_alloc = Some(limits.max_alloc_bytes);
    reader.limits(allowed.clone());

    let explain = |error| explain(error, limits);
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::Broken { reason: format!("it says that it is {width} x {height}") });
    }
    // What follows allocates this much in one piece, and asks nobody.
    allowed.reserve(decoder.total_bytes()).map_err(explain)?;
    decoder.set_limits(allowed).map_err(explain)?;
    let orientation = orientation(&mut decoder);
    let mut image = DynamicImage::from_decoder(decoder).map_err(explain)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// How the picture is to be turned. An EXIF block that makes no sense is no reason to refuse it.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten().unwrap_or_default();
    // WebP files often keep the marker that only JPEG asks for.
    let block = exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif);
    Orientation::from_exif_chunk(block).unwrap_or(Orientation::NoTransforms)
}

/// Whether a JPEG's last scan is followed by an end marker. The decoder takes a file without one and makes the rest grey.
fn jpeg_ends(file: &[u8]) -> bool {
    const START_OF_SCAN: &[u8] = &[0xff, 0xda];
    const END_OF_IMAGE: &[u8] = &[0xff, 0xd9];
    // Inside a scan 0xff is followed by 0 or a restart marker, so neither marker can be picture data.
    let is = |marker: &'static [u8]| move |pair: &[u8]| pair == marker;
    let end = file.windows(2).rposition(is(END_OF_IMAGE)).unwrap_or(0);
    !file[end..].windows(2).any(is(START_OF_SCAN))
}

fn explain(error: image::ImageError, limits: &ImageLimits) -> ImageError {
    match error {
        image::ImageError::Limits(limit) => ImageError::TooLarge {
            reason: match limit.kind() {
                LimitErrorKind::DimensionError => {
                    format!("at most {} x {} pixels are taken", limits.max_width, limits.max_height)
                }
                _ => format!("decoded, it may take at most {} bytes", limits.max_alloc_bytes),
            },
        },
        image::ImageError::Unsupported(unsupported) => {
            ImageError::Unsupported { reason: unsupported.to_string() }
        }
        other => ImageError::Broken { reason: other.to_string() },
    }
}
