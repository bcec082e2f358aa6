//! The plain background behind a thing: whether it is light, where the thing ends, and how to make it black.
//!
//! Fashion-MNIST (<https://arxiv.org/abs/1708.07747>, figure 1) trims the plain border, scales the longer side to 28, extends the
//! shorter one, and negates, so that the things are light on black. This does the same to any grey image.

use crate::Pixels;

/// A thing without its border, and the level of the background that it stood on.
pub(crate) struct Trimmed {
    pub(crate) pixels: Pixels,
    background: u8,
}

/// Differences up to this are still background: 5 % of the range, as the data set's makers took ...
const TOLERANCE: u8 = 13;
/// ... or, if that is more, this share of the greatest difference: what JPEG leaves around an edge.
const ECHO: f64 = 0.1;
/// A picture in which the thing fills at least this share of the side, in the middle but for the rest, is framed already.
const FRAMED: f64 = 25.0 / 28.0;

/// Whether the outermost pixels are light on the whole. The mean over all of them: things often touch the border, and among the
/// 70,000 images of Fashion-MNIST this is never wrong.
pub(crate) fn is_light(pixels: &Pixels) -> bool {
    let border = border(pixels);
    let sum: u64 = border.iter().map(|&value| u64::from(value)).sum();
    2 * sum > 255 * border.len() as u64
}

/// Cuts off the rows and columns at the border that are nothing but background; none where the whole image is. A square picture
/// that is framed as the data set frames stays whole, so that an enlarged picture of the set becomes itself again.
pub(crate) fn trim(pixels: &Pixels) -> Option<Trimmed> {
    let (width, height) = (pixels.width as usize, pixels.height as usize);
    let background = level(pixels);
    let greatest = pixels.data.iter().map(|value| value.abs_diff(background)).max()?;
    let tolerance = TOLERANCE.max((f64::from(greatest) * ECHO) as u8);
    let thing = |x: usize, y: usize| pixels.data[y * width + x].abs_diff(background) > tolerance;
    let row = |y: &usize| (0..width).any(|x| thing(x, *y));
    let top = (0..height).find(row)?;
    let bottom = (top..height).rev().find(row)?;
    let column = |x: &usize| (top..=bottom).any(|y| thing(*x, y));
    let left = (0..width).find(column)?;
    let right = (left..width).rev().find(column)?;

    let longer = (bottom - top + 1).max(right - left + 1) as f64;
    let (below, beyond) = (height - 1 - bottom, width - 1 - right);
    let off_centre = top.abs_diff(below).max(left.abs_diff(beyond)) as f64;
    let side = width as f64;
    let framed = width == height && longer >= side * FRAMED && off_centre <= side * (1.0 - FRAMED);
    if framed {
        return Some(Trimmed { pixels: pixels.clone(), background });
    }
    let data =
        (top..=bottom).flat_map(|y| &pixels.data[y * width + left..=y * width + right]).copied().collect();
    let pixels =
        Pixels { width: (right - left + 1) as u32, height: (bottom - top + 1) as u32, channels: 1, data };
    Some(Trimmed { pixels, background })
}

/// Makes the background black and what differs from it light, over the whole range.
pub(crate) fn lighten(thing: &mut Trimmed) {
    let background = i32::from(thing.background);
    let inverted = background > 127;
    let range = if inverted { background } else { 255 - background };
    for value in &mut thing.pixels.data {
        let above = i32::from(*value) - background;
        let above = if inverted { -above } else { above };
        *value = (above * 255 / range).clamp(0, 255) as u8;
    }
}

/// The level of the background: the middle one of the outermost pixels.
fn level(pixels: &Pixels) -> u8 {
    let mut border = border(pixels);
    let middle = border.len() / 2;
    *border.select_nth_unstable(middle).1
}

/// The outermost pixels of a grey image.
fn border(pixels: &Pixels) -> Vec<u8> {
    let (width, height) = (pixels.width as usize, pixels.height as usize);
    let on_border = |at: usize| {
        let (x, y) = (at % width, at / width);
        x == 0 || y == 0 || x + 1 == width || y + 1 == height
    };
    let values = pixels.data.iter().enumerate();
    values.filter(|(at, _)| on_border(*at)).map(|(_, &value)| value).collect()
}
