//! The plain image that crosses from preprocessing to a net.

/// An image of a net's size: plain data, rows from the top, each pixel's channels together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pixels {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes a pixel: 1 (grey) or 3 (colour, in the order that the net takes).
    pub channels: u32,
    /// `height * width * channels` bytes.
    pub data: Vec<u8>,
}

impl Pixels {
    /// A black square.
    #[must_use]
    pub fn black(size: u32, channels: u32) -> Self {
        let data = vec![0; (size * size * channels) as usize];
        Self { width: size, height: size, channels, data }
    }
}
