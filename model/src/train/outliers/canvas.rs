//! A grey sheet and what can be drawn on it: filled outlines, strokes, textures.

use super::super::draw::{Draw, turn};

/// A place on the sheet; (0, 0) is the top left corner, (1, 1) the bottom right one.
pub(super) type Point = (f32, f32);

/// How light something is at each place.
pub(super) enum Paint {
    /// The same everywhere.
    Plain(f32),
    /// Bars of two lights, across a direction, so many on the sheet.
    Bars { towards: (f32, f32), count: f32, lights: (f32, f32), soft: bool },
    /// A chessboard of so many squares a side.
    Squares { count: f32, lights: (f32, f32) },
    /// Clouds: numbers on grids, each twice as fine as the one before and so much weaker, blended between.
    Clouds { grids: Vec<Grid>, lights: (f32, f32) },
    /// From one light to another, along a direction.
    Slope { towards: (f32, f32), lights: (f32, f32) },
}

/// Numbers from -1 to 1 at the corners of `side` x `side` squares, and what they count.
pub(super) struct Grid {
    side: usize,
    weight: f32,
    values: Vec<f32>,
}

impl Grid {
    fn at(&self, (x, y): Point) -> f32 {
        let place = |along: f32| {
            let along = (along * self.side as f32).clamp(0.0, self.side as f32 - 0.001);
            let part = along - along.floor();
            (along as usize, part * part * (3.0 - 2.0 * part))
        };
        let ((column, right), (row, down)) = (place(x), place(y));
        let value = |row: usize, column: usize| self.values[row * (self.side + 1) + column];
        let between = |a: f32, b: f32, part: f32| a + (b - a) * part;
        let upper = between(value(row, column), value(row, column + 1), right);
        let lower = between(value(row + 1, column), value(row + 1, column + 1), right);
        self.weight * between(upper, lower, down)
    }
}

impl Paint {
    /// Any paint of about that light, of any contrast.
    pub(super) fn any(draw: &mut Draw, light: f32) -> Self {
        let contrast = draw.between(0.1, 0.9);
        let end = |towards: f32| (light + contrast * (towards - light)).clamp(0.0, 1.0);
        let lights = (end(0.0), end(1.0));
        match draw.below(8) {
            0..=2 => Self::Plain(light),
            3 => Self::Bars {
                towards: draw.direction(),
                count: draw.between(3.0, 14.0),
                lights,
                soft: draw.chance(0.5),
            },
            4 => Self::Squares { count: draw.between(3.0, 12.0).floor(), lights },
            5 => Self::Slope { towards: draw.direction(), lights },
            _ => Self::clouds(draw, lights),
        }
    }

    /// Clouds as coarse and as rough as it comes.
    pub(super) fn clouds(draw: &mut Draw, lights: (f32, f32)) -> Self {
        let fading = draw.between(0.4, 0.95);
        let (mut side, mut weight) = (draw.count(2, 8), 1.0);
        let mut grids = Vec::new();
        while side <= 64 {
            let values = (0..(side + 1) * (side + 1)).map(|_| draw.between(-1.0, 1.0)).collect();
            grids.push(Grid { side, weight, values });
            side *= 2;
            weight *= fading;
        }
        Self::Clouds { grids, lights }
    }

    fn at(&self, place: Point) -> f32 {
        let along = |towards: &(f32, f32)| (place.0 - 0.5) * towards.0 + (place.1 - 0.5) * towards.1;
        let of = |lights: &(f32, f32), part: f32| lights.0 + (lights.1 - lights.0) * part.clamp(0.0, 1.0);
        match self {
            Self::Plain(light) => *light,
            Self::Bars { towards, count, lights, soft } => {
                let wave = turn(along(towards) * count).1;
                let hard = if wave > 0.0 { 1.0 } else { 0.0 };
                of(lights, if *soft { 0.5 + 0.5 * wave } else { hard })
            }
            Self::Squares { count, lights } => {
                let odd = ((place.0 * count).floor() + (place.1 * count).floor()) as i32 % 2 != 0;
                of(lights, if odd { 1.0 } else { 0.0 })
            }
            Self::Clouds { grids, lights } => {
                let sum: f32 = grids.iter().map(|grid| grid.at(place)).sum();
                of(lights, 0.5 + 0.7 * sum)
            }
            Self::Slope { towards, lights } => of(lights, 0.5 + along(towards)),
        }
    }
}

/// A grey picture, from 0 to 1 at each pixel.
pub(super) struct Canvas {
    pub(super) side: usize,
    pub(super) light: Vec<f32>,
}

impl Canvas {
    /// A sheet of one light.
    pub(super) fn sheet(side: usize, light: f32) -> Self {
        Self { side, light: vec![light; side * side] }
    }

    /// A byte for each pixel.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.light.iter().map(|light| (light * 255.0).round().clamp(0.0, 255.0) as u8).collect()
    }

    /// Paints all of it.
    pub(super) fn cover(&mut self, paint: &Paint) {
        let side = self.side;
        for (place, light) in self.light.iter_mut().enumerate() {
            *light = paint.at(middle(place % side, place / side, side));
        }
    }

    /// Paints the inside of a closed outline, by the even-odd rule.
    pub(super) fn fill(&mut self, outline: &[Point], paint: &Paint) {
        let side = self.side;
        let mut crossings = Vec::new();
        for row in 0..side {
            let y = middle(0, row, side).1;
            crossings.clear();
            for (place, a) in outline.iter().enumerate() {
                let b = outline[(place + 1) % outline.len()];
                if (a.1 <= y) != (b.1 <= y) {
                    crossings.push(a.0 + (y - a.1) / (b.1 - a.1) * (b.0 - a.0));
                }
            }
            crossings.sort_by(f32::total_cmp);
            for pair in crossings.chunks_exact(2) {
                let column = |x: f32| (x * side as f32 - 0.5).ceil().clamp(0.0, side as f32) as usize;
                for column in column(pair[0])..column(pair[1]) {
                    self.light[row * side + column] = paint.at(middle(column, row, side));
                }
            }
        }
    }

    /// A line through points, so thick.
    pub(super) fn stroke(&mut self, points: &[Point], thickness: f32, paint: &Paint) {
        let (side, radius) = (self.side, thickness / 2.0);
        for pair in points.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let length = dx * dx + dy * dy;
            let first = |from: f32| ((from - radius) * side as f32).floor().clamp(0.0, side as f32) as usize;
            let last = |to: f32| ((to + radius) * side as f32).ceil().clamp(0.0, side as f32) as usize;
            for row in first(a.1.min(b.1))..last(a.1.max(b.1)) {
                for column in first(a.0.min(b.0))..last(a.0.max(b.0)) {
                    let (x, y) = middle(column, row, side);
                    let along = if length > 0.0 {
                        (((x - a.0) * dx + (y - a.1) * dy) / length).clamp(0.0, 1.0)
                    } else {
                        0.0
                    };
                    let (off_x, off_y) = (x - a.0 - along * dx, y - a.1 - along * dy);
                    if off_x * off_x + off_y * off_y <= radius * radius {
                        self.light[row * side + column] = paint.at((x, y));
                    }
                }
            }
        }
    }

    /// Each pixel the mean of those up to `reach` from it, across and down: softer edges.
    pub(super) fn blur(&mut self, reach: usize) {
        let side = self.side;
        for across in [true, false] {
            let before = self.light.clone();
            let at =
                |line: usize, place: usize| if across { line * side + place } else { place * side + line };
            for line in 0..side {
                for place in 0..side {
                    let (first, last) = (place.saturating_sub(reach), (place + reach).min(side - 1));
                    let sum: f32 = (first..=last).map(|place| before[at(line, place)]).sum();
                    self.light[at(line, place)] = sum / (last - first + 1) as f32;
                }
            }
        }
    }

    /// Grain: each pixel up to so much lighter or darker.
    pub(super) fn grain(&mut self, draw: &mut Draw, most: f32) {
        for light in &mut self.light {
            *light = (*light + draw.between(-most, most)).clamp(0.0, 1.0);
        }
    }
}

/// The middle of a pixel.
fn middle(column: usize, row: usize, side: usize) -> Point {
    ((column as f32 + 0.5) / side as f32, (row as f32 + 0.5) / side as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(canvas: &Canvas) -> f32 {
        canvas.light.iter().sum::<f32>() / canvas.light.len() as f32
    }

    #[test]
    fn fills_what_is_inside_and_nothing_else() {
        let mut canvas = Canvas::sheet(40, 0.0);
        canvas.fill(&[(0.25, 0.25), (0.75, 0.25), (0.75, 0.5), (0.25, 0.5)], &Paint::Plain(1.0));
        assert!((share(&canvas) - 0.125).abs() < 1e-6, "{}", share(&canvas));
        assert_eq!((canvas.light[15 * 40 + 20], canvas.light[25 * 40 + 20]), (1.0, 0.0));
        // Beyond the sheet is cut off.
        canvas.fill(&[(-1.0, -1.0), (2.0, -1.0), (2.0, 2.0), (-1.0, 2.0)], &Paint::Plain(0.5));
        assert_eq!(share(&canvas), 0.5);
    }

    #[test]
    fn a_stroke_is_as_thick_as_it_should_be() {
        let mut canvas = Canvas::sheet(100, 0.0);
        canvas.stroke(&[(-0.5, 0.5), (1.5, 0.5)], 0.1, &Paint::Plain(1.0));
        assert!((share(&canvas) - 0.1).abs() < 0.011, "{}", share(&canvas));
        canvas.blur(1);
        assert!((share(&canvas) - 0.1).abs() < 0.02);
    }
}
