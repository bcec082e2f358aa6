//! How a picture is turned and mirrored to be shown upright: the eight orientations of EXIF.

use image::metadata::Orientation;

use crate::Pixels;

/// One of the eight: a mirror along the falling diagonal or none, then the file's own axes reversed or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Whether what is across in the file is down as shown.
    swapped: bool,
    /// Whether the file's columns are shown from the last to the first.
    columns_reversed: bool,
    /// Whether the file's rows are.
    rows_reversed: bool,
}

impl From<Orientation> for Turn {
    fn from(orientation: Orientation) -> Self {
        let (swapped, columns_reversed, rows_reversed) = match orientation {
            Orientation::NoTransforms => (false, false, false),
            Orientation::FlipHorizontal => (false, true, false),
            Orientation::FlipVertical => (false, false, true),
            Orientation::Rotate180 => (false, true, true),
            Orientation::Rotate90FlipH => (true, false, false),
            Orientation::Rotate90 => (true, false, true),
            Orientation::Rotate270 => (true, true, false),
            Orientation::Rotate270FlipH => (true, true, true),
        };
        Self { swapped, columns_reversed, rows_reversed }
    }
}

impl Turn {
    /// Two lengths, across and down: those of the file as they are shown, or the other way round.
    pub(crate) fn sides<T>(self, across: T, down: T) -> (T, T) {
        if self.swapped { (down, across) } else { (across, down) }
    }

    /// Where in the file a part that begins at `start` and is `length` long as shown lies, each as `(across, down)`, and how long
    /// it is there; `whole` is the file's size.
    pub(crate) fn part_in_file(
        self,
        start: (f64, f64),
        length: (f64, f64),
        whole: (f64, f64),
    ) -> ((f64, f64), (f64, f64)) {
        let (left, top) = self.sides(start.0, start.1);
        let (width, height) = self.sides(length.0, length.1);
        let left = if self.columns_reversed { whole.0 - left - width } else { left };
        let top = if self.rows_reversed { whole.1 - top - height } else { top };
        // A reversed part may end a rounding beyond the border.
        ((left.max(0.0), top.max(0.0)), (width, height))
    }

    /// The pixels as they are shown.
    pub(crate) fn shown(self, pixels: Pixels) -> Pixels {
        if !(self.swapped || self.columns_reversed || self.rows_reversed) {
            return pixels;
        }
        let (file_width, file_height) = (pixels.width as usize, pixels.height as usize);
        let (width, height) = self.sides(file_width, file_height);
        let channels = pixels.channels as usize;
        let mut data = Vec::with_capacity(pixels.data.len());
        for y in 0..height {
            for x in 0..width {
                let (column, row) = self.sides(x, y);
                let column = if self.columns_reversed { file_width - 1 - column } else { column };
                let row = if self.rows_reversed { file_height - 1 - row } else { row };
                let at = (row * file_width + column) * channels;
                data.extend_from_slice(&pixels.data[at..at + channels]);
            }
        }
        Pixels { width: width as u32, height: height as u32, channels: pixels.channels, data }
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::*;

    fn all() -> impl Iterator<Item = Orientation> {
        (1..=8).map(|number| Orientation::from_exif(number).unwrap())
    }

    #[test]
    fn each_of_the_eight_is_shown_as_the_crate_image_shows_it() {
        let image = RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 7]));
        for orientation in all() {
            let pixels = Pixels { width: 3, height: 2, channels: 3, data: image.as_raw().clone() };
            let mut expected = DynamicImage::ImageRgb8(image.clone());
            expected.apply_orientation(orientation);
            let shown = Turn::from(orientation).shown(pixels);
            assert_eq!((shown.width, shown.height), (expected.width(), expected.height()), "{orientation:?}");
            assert_eq!(shown.data, expected.into_bytes(), "{orientation:?}");
        }
    }

    #[test]
    fn a_part_of_what_is_shown_is_found_in_the_file() {
        // One pixel of a number of its own, cut out before and after turning.
        let numbered = Pixels { width: 5, height: 3, channels: 1, data: (0..15).collect() };
        for orientation in all() {
            let turn = Turn::from(orientation);
            let shown = turn.shown(numbered.clone());
            let ((left, top), (width, height)) = turn.part_in_file((1.0, 2.0), (1.0, 1.0), (5.0, 3.0));
            assert_eq!((width, height), (1.0, 1.0));
            let there = numbered.data[top as usize * 5 + left as usize];
            assert_eq!(there, shown.data[(2 * shown.width + 1) as usize], "{orientation:?}");
        }
    }
}
