//! What a WebP file (RFC 9649) says of its frames, read before its decoder allocates them. A file in the extended format states the
//! size of its canvas, and the frame inside states its own; the decoder allocates by the second and compares afterwards.

use super::ImageError;

/// A chunk of the file: its four letters and what is in it, cut at the file's end.
struct Chunk<'a> {
    name: &'a [u8],
    data: &'a [u8],
}

/// Bytes that the decoder will hold beside the picture itself. A lossless frame's Huffman tables, which the file does not
/// announce, are not in it.
///
/// # Errors
/// If a frame is not of the size that the file says around it, or there is none.
pub(super) fn beside(file: &[u8]) -> Result<u64, ImageError> {
    let chunks = chunks(file.get(12..).unwrap_or_default());
    let mut chunks = chunks.peekable();
    let first = chunks.next().ok_or_else(no_frame)?;
    match first.name {
        b"VP8 " => Ok(lossy(lossy_size(first.data)?)),
        b"VP8L" => Ok(lossless(lossless_size(first.data)?)),
        b"VP8X" => extended(first.data, chunks),
        _ => Err(no_frame()),
    }
}

fn extended<'a>(header: &[u8], mut chunks: impl Iterator<Item = Chunk<'a>>) -> Result<u64, ImageError> {
    const ANIMATED: u8 = 2;
    let (flags, canvas) = match header {
        [flags, _, _, _, w0, w1, w2, h0, h1, h2, ..] => {
            (*flags, (length([*w0, *w1, *w2]) + 1, length([*h0, *h1, *h2]) + 1))
        }
        _ => return Err(no_frame()),
    };
    if flags & ANIMATED == 0 {
        let mut bytes = None;
        let mut alpha = 0;
        for chunk in chunks {
            match chunk.name {
                b"VP8 " if bytes.is_none() => bytes = Some(lossy(of_size(lossy_size(chunk.data)?, canvas)?)),
                b"VP8L" if bytes.is_none() => {
                    bytes = Some(lossless(of_size(lossless_size(chunk.data)?, canvas)?));
                }
                b"ALPH" => alpha = alpha_plane(canvas),
                _ => {}
            }
        }
        return Ok(bytes.ok_or_else(no_frame)? + alpha);
    }
    // Of an animation the first frame is decoded, and drawn on a canvas of its own.
    let frame = chunks.find(|chunk| chunk.name == b"ANMF").ok_or_else(no_frame)?;
    let size = match frame.data {
        [_, _, _, _, _, _, w0, w1, w2, h0, h1, h2, ..] => {
            (length([*w0, *w1, *w2]) + 1, length([*h0, *h1, *h2]) + 1)
        }
        _ => return Err(no_frame()),
    };
    let mut bytes = 4 * pixels(canvas) + 4 * pixels(size);
    for chunk in self::chunks(frame.data.get(16..).unwrap_or_default()) {
        match chunk.name {
            b"VP8 " => return Ok(bytes + lossy(of_size(lossy_size(chunk.data)?, size)?)),
            b"VP8L" => return Ok(bytes + lossless(of_size(lossless_size(chunk.data)?, size)?)),
            b"ALPH" => bytes += alpha_plane(size),
            _ => {}
        }
    }
    Err(no_frame())
}

/// The planes of a lossy frame: one of light, two of colour at half the size, whole blocks of 16 pixels; and what is noted of
/// each block.
fn lossy((width, height): (u64, u64)) -> u64 {
    width.next_multiple_of(16) * height.next_multiple_of(16) * 7 / 4
}

/// A lossless frame is decoded as four bytes a pixel: into the picture where it has alpha, beside it where not.
fn lossless(size: (u64, u64)) -> u64 {
    4 * pixels(size)
}

/// Alpha beside a lossy frame is at worst itself a lossless frame, copied once more.
fn alpha_plane(size: (u64, u64)) -> u64 {
    5 * pixels(size)
}

/// The size in a lossless frame's header (RFC 9649, 3.4).
fn lossless_size(data: &[u8]) -> Result<(u64, u64), ImageError> {
    match data {
        [0x2f, a, b, c, d, ..] => {
            let header = u32::from_le_bytes([*a, *b, *c, *d]);
            Ok((u64::from(header & 0x3fff) + 1, u64::from(header >> 14 & 0x3fff) + 1))
        }
        _ => Err(no_frame()),
    }
}

/// The size in a lossy frame's header (RFC 6386, 9.1).
fn lossy_size(data: &[u8]) -> Result<(u64, u64), ImageError> {
    match data {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] => {
            let side = |low, high| u64::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Ok((side(*w0, *w1), side(*h0, *h1)))
        }
        _ => Err(no_frame()),
    }
}

fn of_size(frame: (u64, u64), around: (u64, u64)) -> Result<(u64, u64), ImageError> {
    if frame == around {
        return Ok(frame);
    }
    Err(ImageError::broken(format!(
        "it says that it is {} x {} pixels, and the frame in it {} x {}",
        around.0, around.1, frame.0, frame.1
    )))
}

fn pixels((width, height): (u64, u64)) -> u64 {
    width * height
}

fn length([low, middle, high]: [u8; 3]) -> u64 {
    u64::from(u32::from_le_bytes([low, middle, high, 0]))
}

fn no_frame() -> ImageError {
    ImageError::broken("the WebP file holds no frame")
}

/// The chunks in a piece of the file, in order.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let (name, after) = rest.split_at_checked(4)?;
        let (size, after) = after.split_at_checked(4)?;
        let size = u32::from_le_bytes(size.try_into().ok()?) as usize;
        let data = &after[..size.min(after.len())];
        // Each is followed by a byte of nothing where its length is odd.
        rest = after.get(size.saturating_add(size & 1)..).unwrap_or_default();
        Some(Chunk { name, data })
    })
}
