//! Another look at a picture than the one that an answer is made of: a part of it, mirrored, turned a little, in another light. Training
//! takes several of each image, so that a net learns what stays the same in them.

use crate::Pixels;

/// One look at a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The side of the part that is looked at, as a share of the picture's shorter side. With 1, `left` and `top` of a half, it is
    /// what an answer is made of, the manifest's `crop` included.
    pub share: f64,
    /// Where it begins, from 0 at the left to 1, where it ends at the right.
    pub left: f64,
    /// The same from the top to the bottom.
    pub top: f64,
    /// Left is right.
    pub is_mirrored: bool,
    /// By how much it is turned, clockwise, in radians. The border goes on beyond itself.
    pub angle: f32,
    /// What each value is multiplied by.
    pub brightness: f32,
    /// What each value's distance from the picture's mean is multiplied by.
    pub contrast: f32,
    /// What each value's distance from its pixel's grey is multiplied by.
    pub saturation: f32,
}

impl View {
    /// What an answer is made of.
    pub const PLAIN: Self = Self {
        share: 1.0,
        left: 0.5,
        top: 0.5,
        is_mirrored: false,
        angle: 0.0,
        brightness: 1.0,
        contrast: 1.0,
        saturation: 1.0,
    };

    /// Whether it looks at what an answer is made of.
    pub(crate) fn is_whole(&self) -> bool {
        self.share >= 1.0
    }

    /// A square turned and mirrored.
    pub(crate) fn turned(&self, mut pixels: Pixels) -> Pixels {
        let (width, channels) = (pixels.width as usize, pixels.channels as usize);
        if self.is_mirrored {
            for row in pixels.data.chunks_exact_mut(width * channels) {
                for x in 0..width / 2 {
                    for channel in 0..channels {
                        row.swap(x * channels + channel, (width - 1 - x) * channels + channel);
                    }
                }
            }
        }
        if self.angle == 0.0 { pixels } else { rotated(&pixels, self.angle) }
    }

    /// A picture in this view's light.
    pub(crate) fn lit(&self, mut pixels: Pixels) -> Pixels {
        let Self { brightness, contrast, saturation, .. } = *self;
        if (brightness, contrast, saturation) == (1.0, 1.0, 1.0) {
            return pixels;
        }
        let sum: u64 = pixels.data.iter().map(|&value| u64::from(value)).sum();
        let mean = sum as f32 / pixels.data.len().max(1) as f32 * brightness;
        for pixel in pixels.data.chunks_exact_mut(pixels.channels as usize) {
            let grey = match *pixel {
                [red, green, blue] => {
                    0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)
                }
                _ => f32::from(pixel[0]),
            };
            for value in pixel {
                let coloured = (grey + (f32::from(*value) - grey) * saturation) * brightness;
                // From 0 to 255 by the clamp.
                *value = (mean + (coloured - mean) * contrast).round().clamp(0.0, 255.0) as u8;
            }
        }
        pixels
    }
}

/// Turned around its middle, between pixels by bilinear interpolation.
fn rotated(pixels: &Pixels, angle: f32) -> Pixels {
    let (width, height, channels) = (pixels.width as usize, pixels.height as usize, pixels.channels as usize);
    let (sin, cos) = angle.sin_cos();
    let middle = ((width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0);
    let mut data = Vec::with_capacity(pixels.data.len());
    for y in 0..height {
        for x in 0..width {
            let (right, down) = (x as f32 - middle.0, y as f32 - middle.1);
            // Where it comes from.
            let from_x = (middle.0 + right * cos + down * sin).clamp(0.0, width as f32 - 1.0);
            let from_y = (middle.1 - right * sin + down * cos).clamp(0.0, height as f32 - 1.0);
            let (left, top) = (from_x as usize, from_y as usize);
            let (next, below) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
            let (across, along) = (from_x - left as f32, from_y - top as f32);
            for channel in 0..channels {
                let at = |x: usize, y: usize| f32::from(pixels.data[(y * width + x) * channels + channel]);
                let upper = at(left, top) * (1.0 - across) + at(next, top) * across;
                let lower = at(left, below) * (1.0 - across) + at(next, below) * across;
                // A mean of bytes.
                data.push((upper * (1.0 - along) + lower * along).round() as u8);
            }
        }
    }
    Pixels { data, ..*pixels }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::FRAC_PI_2;

    use super::*;

    fn grey(width: u32, data: &[u8]) -> Pixels {
        Pixels { width, height: data.len() as u32 / width, channels: 1, data: data.to_vec() }
    }

    #[test]
    fn a_quarter_turn_goes_clockwise_and_a_mirror_swaps_left_and_right() {
        let picture = grey(3, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let turned = View { angle: FRAC_PI_2, ..View::PLAIN }.turned(picture.clone());
        assert_eq!(turned.data, [7, 4, 1, 8, 5, 2, 9, 6, 3]);
        let mirrored = View { is_mirrored: true, ..View::PLAIN }.turned(picture.clone());
        assert_eq!(mirrored.data, [3, 2, 1, 6, 5, 4, 9, 8, 7]);
        assert_eq!(View::PLAIN.turned(picture.clone()), picture);
        let colours = Pixels { width: 2, height: 1, channels: 3, data: vec![1, 2, 3, 4, 5, 6] };
        let mirrored = View { is_mirrored: true, ..View::PLAIN }.turned(colours);
        assert_eq!(mirrored.data, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn light_is_brightness_contrast_and_saturation() {
        let picture = grey(2, &[50, 150]);
        let lit = |view: View| view.lit(picture.clone()).data;
        assert_eq!(lit(View { brightness: 1.5, ..View::PLAIN }), [75, 225]);
        assert_eq!(lit(View { brightness: 3.0, ..View::PLAIN }), [150, 255]);
        assert_eq!(lit(View { contrast: 0.5, ..View::PLAIN }), [75, 125]);
        assert_eq!(lit(View { saturation: 0.0, ..View::PLAIN }), [50, 150]);
        let red = Pixels { width: 1, height: 1, channels: 3, data: vec![200, 0, 0] };
        assert_eq!(View { saturation: 0.0, ..View::PLAIN }.lit(red).data, [60, 60, 60]);
    }
}
