//! Where in a picture the square lies that a net sees: what it finds there is shown on the picture by this.

/// The net's square in the picture as it is shown (turned as EXIF says), in shares of the picture's sides: 0 is its left or upper border,
/// 1 its right or lower one. What is padded lies beyond the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The left border.
    pub left: f64,
    /// The upper border.
    pub top: f64,
    /// How much of the picture's width it takes.
    pub width: f64,
    /// How much of the picture's height it takes.
    pub height: f64,
}

impl Placement {
    /// The whole picture.
    pub const WHOLE: Self = Self { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };

    /// A place in the picture as one in the square: across and down, both in shares of the sides.
    #[must_use]
    pub fn in_square(&self, (across, down): (f64, f64)) -> (f64, f64) {
        ((across - self.left) / self.width, (down - self.top) / self.height)
    }

    /// A place in the square as one in the picture.
    #[must_use]
    pub fn in_picture(&self, (across, down): (f64, f64)) -> (f64, f64) {
        (self.left + across * self.width, self.top + down * self.height)
    }
}
