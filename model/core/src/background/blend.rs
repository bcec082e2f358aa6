//! A thing in its own colour that was laid over a grey background, as opaque as it is light, and the light that it had.
//!
//! Where the thing's light is `x` (0 to 255) and the background's `g`, such a picture holds `y = g (1 - x / 255) + x x / 255`: darker than
//! the background up to `x = g`, by `g g / 1020` at most, where `x = g / 2`, and lighter above. What is lighter stands for one light, what
//! is darker for two, whose sum is `g`. Which one it was cannot be told from the pixel; beside lighter pixels the greater is the likelier,
//! beside the background the lesser. What is given is the mean of the two, weighted by how likely they are.

use super::plane::Plane;
use super::{LEAST, NOISE, TOLERANCE};
use crate::Pixels;

/// Noise of a greater standard deviation hides which lights a thing had.
const MOST_NOISE: f32 = 0.8;
/// What rounding and the background's fit leave of a difference, in levels, ...
const ROUNDING: f32 = 1.0;
/// ... and the standard deviation of noise that rounding alone looks like, as it is measured: by the middle one of the differences.
const ROUNDING_NOISE: f32 = 0.37;
/// What is darker, but for one pixel in so many, tells how deep such a picture goes.
const BUT_FOR: usize = 50;
/// That has to be so many times what is taken for the background.
const CLEAR: f32 = 3.0;
/// It goes as deep as such a thing's does if it comes to this share of that: lights around half the background's are common.
const DEEP: f32 = 0.85;
/// Half of it goes deeper than this share of that; what JPEG leaves around edges is mostly faint.
const HALF_DEEP: f32 = 0.45;
/// Nothing of it goes this many times as deep.
const TOO_DEEP: f32 = 2.0;
/// Depths are counted by so many parts of a level.
const PARTS: f32 = 8.0;

/// The odds, as their logarithm, that what is darker than the background had the greater of two lights, ...
const ODDS: f32 = 0.4;
/// ... more for each lighter pixel around it, ...
const ODDS_LIGHTER: f32 = 0.3;
/// ... and less for each that is background. Fitted by logistic regression to 6,000 of the data set's training images.
const ODDS_BACKGROUND: f32 = -0.4;

/// How a pixel differs from the background.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Lighter,
    Background,
    Darker,
}

/// A picture of such a thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blend<'a> {
    pixels: &'a Pixels,
    plane: &'a Plane,
    /// The background's level in the middle of the picture.
    grey: f32,
    /// Differences up to this are the background's.
    tolerance: f32,
}

impl<'a> Blend<'a> {
    /// The picture as such a blend, if it is one: parts are lighter than the background, and others darker, as deep as such a thing's and
    /// no deeper.
    pub(super) fn of(pixels: &'a Pixels, plane: &'a Plane, noise: f32) -> Option<Self> {
        let grey = plane.middle(pixels.height as usize);
        let noise_proper = (noise * noise - ROUNDING_NOISE * ROUNDING_NOISE).max(0.0).sqrt();
        let blend = Self { pixels, plane, grey, tolerance: ROUNDING.max(NOISE * noise_proper) };
        let greatest = grey * grey / 1020.0;
        if noise > MOST_NOISE || greatest < CLEAR * blend.tolerance {
            return None;
        }
        let (mut lighter, mut darker) = (0, 0);
        // A list of depths would take more memory than the picture.
        let mut depths = vec![0_usize; (TOO_DEEP * greatest * PARTS) as usize + 1];
        for (y, row) in pixels.data.chunks_exact(pixels.width as usize).enumerate() {
            for (&value, level) in row.iter().zip(plane.row(y)) {
                let depth = blend.depth(value, level);
                if depth > blend.tolerance {
                    *depths.get_mut((depth * PARTS) as usize)? += 1;
                    darker += 1;
                }
                lighter += usize::from(depth < -f32::from(TOLERANCE));
            }
        }
        if darker < LEAST.max(pixels.data.len() / 100) || lighter < LEAST {
            return None;
        }
        // The depth that so many don't exceed.
        let within = |count: usize| {
            let mut left = count;
            let part = depths.iter().position(|&here| {
                left = left.saturating_sub(here);
                left == 0
            });
            part.map_or(f32::INFINITY, |part| (part as f32 + 0.5) / PARTS)
        };
        let (half, most) = (within(darker.div_ceil(2)), within(darker - darker / BUT_FOR));
        let as_deep = DEEP * greatest - ROUNDING..=greatest + blend.tolerance;
        (half >= HALF_DEEP * greatest && as_deep.contains(&most)).then_some(blend)
    }

    /// How much darker a pixel would be than the background in the light of the picture's middle.
    fn depth(&self, value: u8, level: f32) -> f32 {
        self.grey * (1.0 - f32::from(value) / level.max(1.0))
    }

    fn side(&self, depth: f32) -> Side {
        if depth > self.tolerance {
            Side::Darker
        } else if depth < -self.tolerance {
            Side::Lighter
        } else {
            Side::Background
        }
    }

    /// How many of the eight pixels around one are lighter, and how many background, as all is beyond the border.
    fn around(&self, x: usize, y: usize) -> (u8, u8) {
        let (width, height) = (self.pixels.width as usize, self.pixels.height as usize);
        let (mut lighter, mut background) = (0, 0);
        for (x, y) in (0..9).map(|at| ((x + at % 3).wrapping_sub(1), (y + at / 3).wrapping_sub(1))) {
            let side = if x < width && y < height {
                self.side(self.depth(self.pixels.data[y * width + x], self.plane.level(x, y)))
            } else {
                Side::Background
            };
            lighter += u8::from(side == Side::Lighter);
            background += u8::from(side == Side::Background);
        }
        (lighter, background)
    }

    /// The light that the thing had at a pixel, from 0 to 255.
    pub(super) fn light(&self, x: usize, y: usize) -> f32 {
        let Self { pixels, plane, grey, .. } = *self;
        let depth = self.depth(pixels.data[y * pixels.width as usize + x], plane.level(x, y));
        let apart = (grey * grey - 1020.0 * depth).max(0.0).sqrt();
        let greater = (grey + apart) / 2.0;
        let side = self.side(depth);
        if side == Side::Lighter {
            return greater;
        }
        let (lighter, background) = self.around(x, y);
        // Among background, itself counted, it is background.
        if side == Side::Background && background > 1 {
            return 0.0;
        }
        let odds = ODDS + ODDS_LIGHTER * f32::from(lighter) + ODDS_BACKGROUND * f32::from(background);
        let likely = 1.0 / (1.0 + (-odds).exp());
        let lesser = grey - greater;
        (lesser + likely * (greater - lesser)).max(0.0)
    }
}
