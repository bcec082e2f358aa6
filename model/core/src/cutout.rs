//! Pictures of a thing whose background is transparent. The transparency says where the thing is; what remains to be found is
//! whether it was light on dark or dark on light.

use crate::Pixels;
use crate::background::{TOLERANCE, border};
use crate::decode::{Picture, luma};
use crate::turn::Turn;

/// How much lighter or darker a thing must be than its rim for that to tell its background: 3 % of the range.
const RIM: f64 = 8.0;

/// A thing without a background, as two pictures of one size: how light it is laid on black, and how opaque.
pub(crate) struct Cutout {
    pub(crate) light: Pixels,
    pub(crate) alpha: Pixels,
}

impl Cutout {
    /// The picture as one, not turned, if at least a quarter of its outermost pixels is transparent: rounded corners alone cut
    /// nothing out.
    pub(crate) fn of(picture: &Picture) -> Option<Self> {
        let Picture { width, height, channels, .. } = *picture;
        if channels != 2 && channels != 4 {
            return None;
        }
        let pixels = || picture.data.chunks_exact(channels as usize);
        let alpha = |pixel: &[u8]| pixel[channels as usize - 1];
        let (mut transparent, mut all) = (0, 0);
        for (x, y) in border(width as usize, height as usize) {
            let at = (y * width as usize + x) * channels as usize;
            transparent += usize::from(alpha(&picture.data[at..at + channels as usize]) <= TOLERANCE);
            all += 1;
        }
        if transparent * 4 < all {
            return None;
        }
        let on_black = |pixel: &[u8]| {
            let light = if channels == 2 { pixel[0] } else { luma([pixel[0], pixel[1], pixel[2]]) };
            // At most 255: a share of a byte.
            ((u32::from(light) * u32::from(alpha(pixel)) + 127) / 255) as u8
        };
        let plane = |data| Pixels { width, height, channels: 1, data };
        Some(Self {
            light: plane(pixels().map(on_black).collect()),
            alpha: plane(pixels().map(alpha).collect()),
        })
    }

    /// Both pictures as they are shown.
    pub(crate) fn shown(self, turn: Turn) -> Self {
        Self { light: turn.shown(self.light), alpha: turn.shown(self.alpha) }
    }

    /// The thing light on black, at the net's size: as it is, or negated where it was dark on light.
    ///
    /// The pixels at its rim are mixed with what it was cut from, so a rim darker than the inside means a dark background. Where the
    /// rim says nothing, a thing that is light itself is taken as it is, and a dark one is negated, as the data set's makers did with
    /// pictures on white.
    pub(crate) fn light_on_black(self) -> Pixels {
        let Self { mut light, alpha } = self;
        let width = light.width as usize;
        let height = light.height as usize;
        let opaque = |x: usize, y: usize| alpha.data[y * width + x] > 0;
        let at_rim = |x: usize, y: usize| {
            let outside = |x: usize, y: usize| x < width && y < height && !opaque(x, y);
            outside(x.wrapping_sub(1), y)
                || outside(x + 1, y)
                || outside(x, y.wrapping_sub(1))
                || outside(x, y + 1)
                || x == 0
                || y == 0
                || x + 1 == width
                || y + 1 == height
        };
        // Sums of light and of opacity: at the rim, and inside.
        let mut sums = [[0_u64; 2]; 2];
        for y in 0..height {
            for x in (0..width).filter(|&x| opaque(x, y)) {
                let part = &mut sums[usize::from(!at_rim(x, y))];
                part[0] += u64::from(light.data[y * width + x]);
                part[1] += u64::from(alpha.data[y * width + x]);
            }
        }
        let [rim, inside] =
            sums.map(|[light, opacity]| (opacity > 0).then(|| 255.0 * light as f64 / opacity as f64));
        let whole = inside.or(rim).unwrap_or(0.0);
        let falls = rim.map_or(0.0, |rim| whole - rim);
        let is_light = if falls.abs() > RIM { falls > 0.0 } else { whole >= 127.5 };
        if !is_light {
            for (light, &alpha) in light.data.iter_mut().zip(&alpha.data) {
                *light = alpha.saturating_sub(*light);
            }
        }
        light
    }
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;

    use super::*;

    fn picture(width: u32, height: u32, channels: u32, data: Vec<u8>) -> Picture {
        let extent = (f64::from(width), f64::from(height));
        Picture { width, height, channels, data, extent, orientation: Orientation::NoTransforms }
    }

    /// A square of `inside` in a rim of `rim`, on nothing.
    fn square(inside: u8, rim: u8) -> Picture {
        let pixel = |at: u32| {
            let (x, y) = (at % 28, at / 28);
            match x.min(y).min(27 - x).min(27 - y) {
                0..5 => [99, 99, 99, 0],
                5 => [rim, rim, rim, 255],
                _ => [inside, inside, inside, 255],
            }
        };
        picture(28, 28, 4, (0..28 * 28).flat_map(pixel).collect())
    }

    fn middle(inside: u8, rim: u8) -> u8 {
        let found = Cutout::of(&square(inside, rim)).map(Cutout::light_on_black);
        let found = found.map(|pixels| (pixels.data[0], pixels.data[14 * 28 + 14]));
        assert_eq!(found.map(|(background, _)| background), Some(0));
        found.map_or(0, |(_, middle)| middle)
    }

    #[test]
    fn the_rim_tells_what_a_thing_was_cut_from() {
        assert_eq!(middle(90, 40), 90);
        assert_eq!(middle(165, 215), 90);
        // Without a rim its own light does.
        assert_eq!(middle(200, 200), 200);
        assert_eq!(middle(40, 40), 215);
    }

    #[test]
    fn rounded_corners_and_opaque_pictures_are_no_cut_outs() {
        let mut data = [200, 255].repeat(28 * 28);
        assert!(Cutout::of(&picture(28, 28, 2, data.clone())).is_none());
        data[1] = 0;
        assert!(Cutout::of(&picture(28, 28, 2, data)).is_none());
        assert!(Cutout::of(&picture(4, 4, 3, vec![0; 48])).is_none());
    }

    #[test]
    fn nothing_at_all_stays_black() {
        let clear = picture(5, 9, 4, [255, 255, 255, 0].repeat(45));
        let found = Cutout::of(&clear).map(Cutout::light_on_black);
        assert!(found.is_some_and(|pixels| pixels.data.iter().all(|&value| value == 0)));
    }
}
