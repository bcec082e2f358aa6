//! Files that would take much memory, most of them of a few bytes, made here so that none is stored. The benchmark uses them too.
#![allow(dead_code, clippy::unwrap_used, reason = "each file uses its own part; a test may panic")]

use std::io::Cursor;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, ImageFormat};

use super::photographs::Photograph;

/// Whole, sound files that took 300 MiB and more when only their pixels were counted, by name. With 64 MiB each is either refused, or
/// decoded within them.
pub(crate) fn sound() -> Vec<(&'static str, Vec<u8>)> {
    let photograph = Photograph { width: 5_400, height: 4_050, ..Photograph::default() };
    let progressive = Photograph { progressive: true, ..photograph };
    vec![
        ("a PNG of one bit, 8,192 x 8,192", png(8_192, 8_192, 1, 0)),
        ("a PNG with alpha, 4,096 x 4,096", png(4_096, 4_096, 8, 6)),
        ("a progressive JPEG of 22 megapixels", progressive.file()),
        ("the same with colour at full size", Photograph { full_colour: true, ..progressive }.file()),
        ("a JPEG of 22 megapixels, turned by a quarter", Photograph { orientation: 6, ..photograph }.file()),
    ]
}

/// All that are refused with 64 MiB, by name.
pub(crate) fn refused() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a WebP whose frame is larger than it says", webp_in_a_small_canvas(&lossy_frame(12_000, 12_000))),
        ("the same, lossless", webp_in_a_small_canvas(&lossless_frame(12_000, 12_000))),
        ("an animated WebP whose frame is larger than it says", animation_in_a_small_canvas()),
        ("a WebP of 16,000 x 16,000", riff(&lossy_frame(16_000, 16_000))),
        ("a lossless WebP of 16,000 x 16,000", riff(&lossless_frame(16_000, 16_000))),
        ("a PNG of one bit, 8,300 x 8,300", png(8_300, 8_300, 1, 0)),
        ("a PNG of 16 bits, 4,000 x 4,000", png(4_000, 4_000, 16, 6)),
        ("a PNG of 60,000 x 60,000", png(60_000, 60_000, 8, 2)),
        ("a GIF of 9,000 x 9,000", gif((9_000, 9_000), (9_000, 9_000))),
        ("a GIF of 8 x 8 whose frame is 60,000 x 60,000", gif((8, 8), (60_000, 60_000))),
        ("a BMP of 60,000 x 60,000", bmp(60_000)),
        ("a progressive JPEG of 30 megapixels", jpeg_header(6_000, 5_000, true)),
        ("a JPEG of 60,000 x 60,000", jpeg_header(60_000, 60_000, false)),
    ]
}

/// A PNG of nothing but zeros: `bits` a sample, `kind` as in its header (0 grey, 2 colour, 6 colour and alpha).
pub(crate) fn png(width: u32, height: u32, bits: u8, kind: u8) -> Vec<u8> {
    let samples: u64 = match kind {
        0 => 1,
        2 => 3,
        _ => 4,
    };
    let row = (u64::from(width) * samples * u64::from(bits)).div_ceil(8) + 1;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Enough for a decoder to begin; and all of it where that is not too much to make.
    let zeros = (row * u64::from(height)).min(1 << 27);
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), zeros), &mut packed).unwrap();
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([bits, kind, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header), (b"IDAT", packed.finish().unwrap()), (b"IEND", vec![])] {
        file.extend((data.len() as u32).to_be_bytes());
        let mut sum = flate2::Crc::new();
        sum.update(name);
        sum.update(&data);
        file.extend(name);
        file.extend(data);
        file.extend(sum.sum().to_be_bytes());
    }
    file
}

/// The markers of a JPEG (three components, colour at half the size) up to its first scan, and an end.
pub(crate) fn jpeg_header(width: u16, height: u16, progressive: bool) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(8, 8).write_to(&mut file, ImageFormat::Jpeg).unwrap();
    let mut file = file.into_inner();
    let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    file[frame + 1] = if progressive { 0xc2 } else { 0xc0 };
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

fn bmp(side: u32) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::new_luma8(1, 1).write_to(&mut file, ImageFormat::Bmp).unwrap();
    let mut file = file.into_inner();
    file[18..22].copy_from_slice(&side.to_le_bytes());
    file[22..26].copy_from_slice(&side.to_le_bytes());
    file
}

fn gif(canvas: (u16, u16), frame: (u16, u16)) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend([canvas.0, canvas.1].map(u16::to_le_bytes).concat());
    // A table of two colours.
    file.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    file.push(0x2c);
    file.extend([0, 0, frame.0, frame.1].map(u16::to_le_bytes).concat());
    // Codes that begin with two bits: clear, 0, end.
    file.extend([0, 2, 2, 0x44, 0x01, 0, 0x3b]);
    file
}

fn riff(chunks: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend((4 + chunks.len() as u32).to_le_bytes());
    file.extend(b"WEBP");
    file.extend(chunks);
    file
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = name.to_vec();
    chunk.extend((data.len() as u32).to_le_bytes());
    chunk.extend(data);
    chunk.extend(vec![0; data.len() % 2]);
    chunk
}

/// A key frame's header and some noise.
fn lossy_frame(width: u16, height: u16) -> Vec<u8> {
    let mut data = vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a];
    data.extend([width, height].map(u16::to_le_bytes).concat());
    data.extend((0..200_u8).map(|at| at.wrapping_mul(37)));
    chunk(b"VP8 ", &data)
}

fn lossless_frame(width: u32, height: u32) -> Vec<u8> {
    let mut data = vec![0x2f];
    data.extend(((width - 1) | (height - 1) << 14).to_le_bytes());
    data.extend([0; 40]);
    chunk(b"VP8L", &data)
}

/// Three bytes, the lowest first.
fn short(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}

fn extended(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let sides = [short(width - 1), short(height - 1)].concat();
    chunk(b"VP8X", &[&[flags, 0, 0, 0], sides.as_slice()].concat())
}

fn webp_in_a_small_canvas(frame: &[u8]) -> Vec<u8> {
    riff(&[&extended(0, 8, 8), frame].concat())
}

fn animation_in_a_small_canvas() -> Vec<u8> {
    let mut data = [short(0), short(0), short(7), short(7), short(100)].concat();
    data.push(0);
    data.extend(lossy_frame(12_000, 12_000));
    let loops = chunk(b"ANIM", &[0; 6]);
    riff(&[extended(2, 8, 8), loops, chunk(b"ANMF", &data)].concat())
}
