//! A decoded image before preprocessing, and what can be made of it without a second copy.

use image::metadata::Orientation;

use crate::Pixels;

/// A decoded image: rows from the top, each pixel's channels together, as the file has them. Which way up it is to be shown is
/// told beside it, since a small image is turned more cheaply than a large one.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// Pixels across.
    pub(crate) width: u32,
    /// Pixels down.
    pub(crate) height: u32,
    /// Bytes a pixel: 1 (grey), 2 (grey, alpha), 3 (red, green, blue) or 4 (and alpha).
    pub(crate) channels: u32,
    /// `height * width * channels` bytes.
    pub(crate) data: Vec<u8>,
    /// How much of that is picture, across and down: a JPEG decoded smaller ends between two pixels.
    pub(crate) extent: (f64, f64),
    /// How it is to be turned.
    pub(crate) orientation: Orientation,
}

impl Picture {
    /// Lays it on white where it is transparent: grey or colour is left.
    pub(crate) fn lay_on_white(&mut self) {
        let blend = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            // At most 255: a mean of two bytes, weighted.
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        match self.channels {
            2 => self.each_pixel(|[value, alpha]: [u8; 2]| [blend(value, alpha)]),
            4 => self.each_pixel(|[r, g, b, alpha]: [u8; 4]| [r, g, b].map(|value| blend(value, alpha))),
            _ => {}
        }
    }

    /// Makes colour grey. Nothing may be transparent any more.
    pub(crate) fn make_grey(&mut self) {
        if self.channels == 3 {
            self.each_pixel(|pixel: [u8; 3]| [luma(pixel)]);
        }
    }

    /// Its pixels, as many channels as there are, not turned.
    pub(crate) fn into_pixels(self) -> Pixels {
        Pixels { width: self.width, height: self.height, channels: self.channels, data: self.data }
    }

    /// Replaces each pixel by one of fewer channels, in the same memory; what is left over goes back.
    fn each_pixel<const FROM: usize, const TO: usize>(&mut self, rule: impl Fn([u8; FROM]) -> [u8; TO]) {
        const { assert!(TO <= FROM) };
        let count = self.data.len() / FROM;
        for at in 0..count {
            let mut pixel = [0; FROM];
            pixel.copy_from_slice(&self.data[at * FROM..][..FROM]);
            self.data[at * TO..][..TO].copy_from_slice(&rule(pixel));
        }
        self.data.truncate(count * TO);
        self.data.shrink_to_fit();
        self.channels = TO as u32;
    }
}

/// How light red, green and blue are together: Rec. 601 in 16-bit fixed point, as Pillow's "L".
pub(crate) fn luma(pixel: [u8; 3]) -> u8 {
    let [r, g, b] = pixel.map(u32::from);
    ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
}

/// Samples of 16 bits in the machine's byte order to bytes, in the same memory.
pub(super) fn to_eight_bits(data: &mut Vec<u8>) {
    let count = data.len() / 2;
    for at in 0..count {
        let value = u32::from(u16::from_ne_bytes([data[2 * at], data[2 * at + 1]]));
        // The nearest, 65535 being 255.
        data[at] = ((value + 128) / 257) as u8;
    }
    data.truncate(count);
    data.shrink_to_fit();
}
