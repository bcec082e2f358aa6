//! The plain background behind a thing: how light it is at each place, where the thing ends, and how to make it black.
//!
//! Fashion-MNIST (<https://arxiv.org/abs/1708.07747>, figure 1) trims what differs from the corner's colour by at most 5 %, scales
//! the longer side to 28, extends the shorter one, and negates, so that things are light on black. This does so to any grey
//! picture, also where the background is grey, or lighter on one side than on the other:
//!
//! 1. the background is the plane that fits most of the outermost pixels, found from the corners;
//! 2. the thing is what differs from it, by more than the noise that the border shows;
//! 3. its light is the difference as a share of the greatest that is possible there, up to white or down to black, whichever side
//!    differs more in all; or the light that it had, where it was blended over the background by its own.

use self::blend::Blend;
use crate::Pixels;

mod blend;
mod plane;
#[cfg(test)]
mod tests;

/// Differences up to this are still background: 5 % of the range, as the data set's makers took ...
pub(crate) const TOLERANCE: u8 = 13;
/// ... or, if that is more, so many standard deviations of the noise at the border, ...
const NOISE: f32 = 4.0;
/// ... or, where the thing is cut out, this share of the greatest difference: what JPEG leaves around an edge.
const ECHO: f32 = 0.1;
/// A picture of which fewer than one pixel in so many differs from its background shows nothing.
const SPECK: usize = 10_000;
/// Nor does one with fewer pixels than this that do.
const LEAST: usize = 4;
/// A pixel differs only if so many of the eight around it do so too, in the same direction: noise has no shape.
const NEIGHBOURS: usize = 2;
/// A picture in which the thing fills at least this share of the side, in the middle but for the rest, is framed already.
const FRAMED: f64 = 25.0 / 28.0;

/// The rows and columns that a thing takes up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Whether a picture of the net's own size is framed and lit as the data set's are: light on black. Then nothing is to be done.
/// Two black corners and a border that is dark on the whole; among the 70,000 images of Fashion-MNIST this is never wrong.
pub(crate) fn is_light_on_black(pixels: &Pixels) -> bool {
    let (width, height) = (pixels.width as usize, pixels.height as usize);
    let corners = [0, width - 1, (height - 1) * width, height * width - 1];
    let black = corners.iter().filter(|&&at| pixels.data[at] <= TOLERANCE).count();
    black >= 2 && !is_light(pixels)
}

/// Whether the outermost pixels are light on the whole. The mean over all of them: things often touch the border.
pub(crate) fn is_light(pixels: &Pixels) -> bool {
    let (mut sum, mut count) = (0_u64, 0_u64);
    for (x, y) in border(pixels.width as usize, pixels.height as usize) {
        sum += u64::from(pixels.data[y * pixels.width as usize + x]);
        count += 1;
    }
    2 * sum > 255 * count
}

/// The picture with its background black and what differs from it light, and the thing's place; nothing where there is no thing.
pub(crate) fn light_on_black(pixels: &Pixels) -> Option<(Pixels, Frame)> {
    let width = pixels.width as usize;
    let (plane, noise) = plane::fit(pixels);
    let tolerance = f32::from(TOLERANCE).max(NOISE * noise);
    let sides = Sides::of(pixels, &plane, tolerance);

    let (mut lighter, mut darker, mut greatest, mut differ) = (0.0_f64, 0.0_f64, 0.0_f32, 0_usize);
    for (y, row) in pixels.data.chunks_exact(width).enumerate() {
        for ((x, &value), level) in row.iter().enumerate().zip(plane.row(y)) {
            let difference = f32::from(value) - level;
            if sides.differs(x, y) {
                differ += 1;
                greatest = greatest.max(difference.abs());
                *(if difference > 0.0 { &mut lighter } else { &mut darker }) += f64::from(difference.abs());
            }
        }
    }
    if differ < LEAST.max(pixels.data.len() / SPECK) {
        return None;
    }

    let edge = tolerance.max(ECHO * greatest);
    let is_lighter = lighter > darker;
    let blend = (lighter > 0.0).then(|| Blend::of(pixels, &plane, noise)).flatten();
    let mut light = Vec::with_capacity(pixels.data.len());
    let mut bounds = Bounds::default();
    for (y, row) in pixels.data.chunks_exact(width).enumerate() {
        for ((x, &value), level) in row.iter().enumerate().zip(plane.row(y)) {
            let difference = f32::from(value) - level;
            if difference.abs() > edge && sides.differs(x, y) {
                bounds.add(x, y);
            }
            let own = match blend {
                Some(blend) => blend.light(x, y),
                None if is_lighter => difference / (255.0 - level).max(1.0) * 255.0,
                None => -difference / level.max(1.0) * 255.0,
            };
            // From 0 to 255 by the clamp.
            light.push(own.round().clamp(0.0, 255.0) as u8);
        }
    }
    let frame = bounds.frame()?.unless_framed(pixels);
    Some((Pixels { data: light, ..*pixels }, frame))
}

/// For each pixel whether it is lighter than the background by more than the tolerance, darker, or neither: 1, -1, 0.
struct Sides {
    signs: Vec<i8>,
    width: usize,
}

impl Sides {
    fn of(pixels: &Pixels, plane: &plane::Plane, tolerance: f32) -> Self {
        let width = pixels.width as usize;
        let sign = |(&value, level): (&u8, f32)| {
            let difference = f32::from(value) - level;
            i8::from(difference > tolerance) - i8::from(difference < -tolerance)
        };
        let mut signs = Vec::with_capacity(pixels.data.len());
        for (y, row) in pixels.data.chunks_exact(width).enumerate() {
            signs.extend(row.iter().zip(plane.row(y)).map(sign));
        }
        Self { signs, width }
    }

    /// Whether the pixel is part of something that differs.
    fn differs(&self, x: usize, y: usize) -> bool {
        let sign = self.signs[y * self.width + x];
        if sign == 0 {
            return false;
        }
        let columns = x.saturating_sub(1)..(x + 2).min(self.width);
        let rows = y.saturating_sub(1)..(y + 2).min(self.signs.len() / self.width);
        let around = rows.flat_map(|row| &self.signs[row * self.width..][columns.clone()]);
        // The pixel itself is among them.
        around.filter(|&&other| other == sign).count() > NEIGHBOURS
    }
}

/// The place of what is at least a little opaque; nothing where all is transparent.
pub(crate) fn opaque(alpha: &Pixels) -> Option<Frame> {
    let mut bounds = Bounds::default();
    for (y, row) in alpha.data.chunks_exact(alpha.width as usize).enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, value)| **value > TOLERANCE) {
            bounds.add(x, y);
        }
    }
    Some(bounds.frame()?.unless_framed(alpha))
}

/// The outermost pixels of a picture of that size, each once.
pub(crate) fn border(width: usize, height: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| {
        let inner = y > 0 && y + 1 < height;
        (0..width).step_by(if inner { (width - 1).max(1) } else { 1 }).map(move |x| (x, y))
    })
}

impl Frame {
    pub(crate) fn whole(pixels: &Pixels) -> Self {
        Self { left: 0, top: 0, width: pixels.width, height: pixels.height }
    }

    /// The whole of a square picture that is framed as the data set frames, so that an enlarged picture of the set becomes itself
    /// again.
    fn unless_framed(self, pixels: &Pixels) -> Self {
        let side = f64::from(pixels.width);
        let longer = f64::from(self.width.max(self.height));
        let below = pixels.height - self.top - self.height;
        let beyond = pixels.width - self.left - self.width;
        let off_centre = f64::from(self.top.abs_diff(below).max(self.left.abs_diff(beyond)));
        let framed =
            pixels.width == pixels.height && longer >= side * FRAMED && off_centre <= side * (1.0 - FRAMED);
        if framed { Self::whole(pixels) } else { self }
    }
}

/// The least and the greatest column and row so far.
#[derive(Default)]
struct Bounds(Option<[usize; 4]>);

impl Bounds {
    fn add(&mut self, x: usize, y: usize) {
        let [left, top, right, bottom] = self.0.unwrap_or([x, y, x, y]);
        self.0 = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
    }

    fn frame(&self) -> Option<Frame> {
        let [left, top, right, bottom] = self.0?;
        let length = |from: usize, to: usize| (to - from + 1) as u32;
        Some(Frame {
            left: left as u32,
            top: top as u32,
            width: length(left, right),
            height: length(top, bottom),
        })
    }
}
