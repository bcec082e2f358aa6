//! The background's light as a plane over the picture, fitted to the outermost pixels though things may touch them.

use super::{NOISE, TOLERANCE, border};
use crate::Pixels;

/// So many of the outermost pixels are looked at, at most; they are spread over all of them.
const SAMPLES: usize = 1024;
/// Least squares over the pixels that fit, so often at most: it settles in two or three.
const REFINEMENTS: usize = 5;
/// Then once over those that fit as closely as each of these, in levels: what is nearly as light as the background would bend it.
const CLOSER: [f64; 3] = [6.0, 3.0, 1.5];
/// But only where that is so many standard deviations of the noise.
const CLEAR: f64 = 2.0;

/// A level for each pixel, from 0 to 255.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plane {
    /// At the left end of the first row.
    start: f32,
    /// More for each pixel to the right.
    across: f32,
    /// More for each row down.
    down: f32,
    width: usize,
}

impl Plane {
    /// The level in the middle of a picture of that height.
    pub(crate) fn middle(&self, height: usize) -> f32 {
        let half = |side: usize| (side - 1) as f32 / 2.0;
        self.start + self.across * half(self.width) + self.down * half(height)
    }

    /// The level at a pixel.
    pub(crate) fn level(&self, x: usize, y: usize) -> f32 {
        (self.start + self.down * y as f32 + self.across * x as f32).clamp(0.0, 255.0)
    }

    /// The levels of a row, from the left.
    pub(crate) fn row(&self, y: usize) -> impl Iterator<Item = f32> {
        (0..self.width).map(move |x| self.level(x, y))
    }
}

/// An outermost pixel: its place, each side of the picture from -1 to 1, and its value.
#[derive(Clone, Copy)]
struct Sample {
    x: f64,
    y: f64,
    value: f64,
}

/// Level at the middle, rise to the right side, rise to the bottom.
type Coefficients = [f64; 3];

fn at([level, across, down]: Coefficients, sample: &Sample) -> f64 {
    level + across * sample.x + down * sample.y
}

fn difference(plane: Coefficients, sample: &Sample) -> f64 {
    (at(plane, sample) - sample.value).abs()
}

fn fits(plane: Coefficients, sample: &Sample) -> bool {
    difference(plane, sample) <= f64::from(TOLERANCE)
}

/// How well it fits: not at all, or from 1 to 4. A thing that is nearly as light as the background fits too, and less well.
fn closeness(plane: Coefficients, sample: &Sample) -> usize {
    let difference = difference(plane, sample);
    usize::from(fits(plane, sample)) + CLOSER.iter().filter(|closer| difference <= **closer).count()
}

/// The plane that most of the outermost pixels of a grey picture fit best, and the standard deviation of the noise around it.
///
/// Tried are the middle one of all their values everywhere, and the planes through three or two of the corners: things touch the
/// border often, corners hardly ever. The one that pixels fit best is then fitted to these by least squares.
pub(super) fn fit(pixels: &Pixels) -> (Plane, f32) {
    let (width, height) = (pixels.width as usize, pixels.height as usize);
    let middle = |side: usize| (side - 1).max(1) as f64 / 2.0;
    let samples = samples(pixels, middle(width), middle(height));
    let fitting = |plane: Coefficients| samples.iter().map(|sample| closeness(plane, sample)).sum::<usize>();

    let mut best = [median(samples.iter().map(|sample| sample.value).collect()), 0.0, 0.0];
    let mut most = fitting(best);
    for plane in through_corners(corners(pixels)) {
        let count = fitting(plane);
        // A level background is the likelier where both do as well.
        if count > most {
            (best, most) = (plane, count);
        }
    }
    for _ in 0..REFINEMENTS {
        let Some(plane) = least_squares(samples.iter().filter(|sample| fits(best, sample))) else { break };
        let count = fitting(plane);
        if count < most || plane == best {
            break;
        }
        (best, most) = (plane, count);
    }

    let deviation = |plane| deviation(samples.iter().map(|sample| difference(plane, sample)));
    let mut noise = deviation(best);
    for closer in CLOSER {
        let close = || samples.iter().filter(|sample| difference(best, sample) <= closer);
        if closer < CLEAR * noise || close().count() < samples.len() / 8 {
            break;
        }
        let Some(plane) = least_squares(close()) else { break };
        best = plane;
        noise = deviation(best);
    }
    let [level, across, down] = best;
    let plane = Plane {
        start: (level - across - down) as f32,
        across: (across / middle(width)) as f32,
        down: (down / middle(height)) as f32,
        width,
    };
    (plane, noise as f32)
}

/// The standard deviation of the noise in differences from the background, some of which are no noise but a thing: by the middle one
/// of those that it explains itself, which are looked for again with each better guess.
fn deviation(differences: impl Iterator<Item = f64> + Clone) -> f64 {
    let mut deviation = 0.0;
    for _ in 0..REFINEMENTS {
        let tolerance = f64::from(TOLERANCE).max(f64::from(NOISE) * deviation);
        // Of a normal distribution half lies within 0.6745 standard deviations.
        let next = median(differences.clone().filter(|&it| it <= tolerance).collect()) / 0.6745;
        if next <= deviation {
            break;
        }
        deviation = next;
    }
    deviation
}

fn samples(pixels: &Pixels, middle_x: f64, middle_y: f64) -> Vec<Sample> {
    let (width, height) = (pixels.width as usize, pixels.height as usize);
    // Odd, since the rows between the first and the last give their left and right ends in turn.
    let step = (2 * (width + height)).div_ceil(SAMPLES) | 1;
    let sample = |(x, y): (usize, usize)| Sample {
        x: x as f64 / middle_x - 1.0,
        y: y as f64 / middle_y - 1.0,
        value: f64::from(pixels.data[y * width + x]),
    };
    border(width, height).step_by(step).map(sample).collect()
}

/// The middle value of a small square in each corner: at the left and the right of the top, then of the bottom.
fn corners(pixels: &Pixels) -> [f64; 4] {
    let (width, height) = (pixels.width as usize, pixels.height as usize);
    let side = (width.min(height) / 28).clamp(1, 32);
    [(0, 0), (width - side, 0), (0, height - side), (width - side, height - side)].map(|(left, top)| {
        let row = |y: usize| &pixels.data[y * width + left..y * width + left + side];
        median((top..top + side).flat_map(row).map(|&value| f64::from(value)).collect())
    })
}

/// The planes through all but one of the corners, then those through the two of one side, level from there to the other side.
fn through_corners([a, b, c, d]: [f64; 4]) -> [Coefficients; 8] {
    let half = |less: f64, more: f64| (more - less) / 2.0;
    let middle = |one: f64, other: f64| (one + other) / 2.0;
    [
        [middle(b, c), half(a, b), half(a, c)],
        [middle(b, c), half(c, d), half(b, d)],
        [middle(a, d), half(a, b), half(b, d)],
        [middle(a, d), half(c, d), half(a, c)],
        [middle(a, b), half(a, b), 0.0],
        [middle(c, d), half(c, d), 0.0],
        [middle(a, c), 0.0, half(a, c)],
        [middle(b, d), 0.0, half(b, d)],
    ]
}

/// The plane of least squared differences; none where the samples do not determine one, as those of a single row.
fn least_squares<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Coefficients> {
    let (mut m, mut v) = ([[0.0; 3]; 3], [0.0; 3]);
    for sample in samples {
        let row = [1.0, sample.x, sample.y];
        for i in 0..3 {
            for j in 0..3 {
                m[i][j] += row[i] * row[j];
            }
            v[i] += row[i] * sample.value;
        }
    }
    let det = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = det(m);
    // Against the scale of the numbers in it.
    if whole.abs() <= 1e-9 * m[0][0].powi(3) {
        return None;
    }
    let with = |column: usize| {
        let mut replaced = m;
        for (row, value) in replaced.iter_mut().zip(v) {
            row[column] = value;
        }
        det(replaced) / whole
    };
    Some([with(0), with(1), with(2)])
}

/// The middle one of the values; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
