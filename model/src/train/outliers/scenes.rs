//! What pictures of other things than a net's classes may look like: each kind drawn by chance on a sheet.

use super::super::draw::{Draw, turn};
use super::canvas::{Canvas, Paint, Point};

/// An ellipse, its outline dented by chance: `rough` 0 is smooth.
fn round(draw: &mut Draw, middle: Point, (width, height): (f32, f32), tilt: f32, rough: f32) -> Vec<Point> {
    let waves: Vec<(f32, f32, f32)> = (2..6_u8)
        .map(|times| (f32::from(times), draw.share(), rough * draw.between(-1.0, 1.0) / f32::from(times)))
        .collect();
    let (cosine, sine) = turn(tilt);
    let point = |step: u8| {
        let share = f32::from(step) / 48.0;
        let dent: f32 = waves.iter().map(|(times, from, depth)| depth * turn(times * share + from).0).sum();
        let (x, y) = turn(share);
        let (x, y) = (x * width / 2.0 * (1.0 + dent), y * height / 2.0 * (1.0 + dent));
        (middle.0 + x * cosine - y * sine, middle.1 + x * sine + y * cosine)
    };
    (0..48).map(point).collect()
}

/// A corner list around a middle: a triangle, a star, a splinter.
fn angular(draw: &mut Draw, middle: Point, size: f32) -> Vec<Point> {
    let (corners, from) = (draw.count(3, 9), draw.share());
    let star = draw.chance(0.3);
    let corner = |place: usize| {
        let reach = if star && place.is_multiple_of(2) { 0.4 } else { draw.between(0.4, 1.0) };
        let (x, y) = turn(from + place as f32 / corners as f32);
        (middle.0 + x * size / 2.0 * reach, middle.1 + y * size / 2.0 * reach)
    };
    (0..corners).map(corner).collect()
}

/// A rectangle, tilted.
fn block(middle: Point, (width, height): (f32, f32), tilt: f32) -> Vec<Point> {
    let (cosine, sine) = turn(tilt);
    let corner = |(x, y): (f32, f32)| {
        let (x, y) = (x * width / 2.0, y * height / 2.0);
        (middle.0 + x * cosine - y * sine, middle.1 + x * sine + y * cosine)
    };
    [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(corner).to_vec()
}

/// A smooth curve through a few places.
fn curve(draw: &mut Draw, from: Point, reach: f32, bends: usize) -> Vec<Point> {
    let mut heading = draw.share();
    let (mut bend, mut at) = (draw.between(-0.08, 0.08), from);
    let mut points = vec![at];
    for step in 0..bends * 6 {
        if step % 6 == 0 {
            bend = draw.between(-0.08, 0.08);
        }
        heading += bend;
        let (x, y) = turn(heading);
        at = (at.0 + x * reach / 6.0, at.1 + y * reach / 6.0);
        points.push(at);
    }
    points
}

fn anywhere(draw: &mut Draw) -> Point {
    (draw.between(0.1, 0.9), draw.between(0.1, 0.9))
}

/// A light that can be told from another.
fn other_light(draw: &mut Draw, than: f32) -> f32 {
    let light = draw.between(0.15, 0.85);
    if light > than { 0.15 + light } else { light - 0.15 }.clamp(0.0, 1.0)
}

/// A sheet for things: plain as a rule, else what is behind things in photographs. Its light, too.
pub(super) fn sheet(draw: &mut Draw, side: usize, photograph: f32) -> (Canvas, f32) {
    let light = match draw.below(4) {
        0 => 0.0,
        1 => 1.0,
        _ => draw.share(),
    };
    let mut canvas = Canvas::sheet(side, light);
    if draw.chance(photograph) {
        let ends = (light * draw.between(0.3, 1.0), light + (1.0 - light) * draw.between(0.0, 0.7));
        let clouds = Paint::clouds(draw, ends);
        canvas.cover(&clouds);
        // Out of focus, as what is behind is.
        canvas.blur(draw.count(1, side / 12));
    }
    (canvas, light)
}

/// Lines drawn by hand.
pub(super) fn scribble(draw: &mut Draw, side: usize) -> Canvas {
    let (mut canvas, ground) = sheet(draw, side, 0.2);
    for _ in 0..draw.count(1, 7) {
        let from = anywhere(draw);
        let (reach, bends) = (draw.between(0.1, 0.4), draw.count(1, 7));
        let points = if draw.chance(0.7) {
            curve(draw, from, reach, bends)
        } else {
            (0..=bends).map(|_| anywhere(draw)).collect()
        };
        let light = other_light(draw, ground);
        canvas.stroke(&points, draw.between(0.015, 0.14), &Paint::Plain(light));
    }
    canvas
}

/// Characters of no script, one to a few lines of them: strokes and bows between the places of a grid of 3 x 5.
pub(super) fn writing(draw: &mut Draw, side: usize) -> Canvas {
    let (mut canvas, ground) = sheet(draw, side, 0.1);
    let (columns, rows) = if draw.chance(0.45) { (1, 1) } else { (draw.count(1, 7), draw.count(1, 4)) };
    let (wide, high) = (1.0 / columns as f32, 1.0 / rows as f32);
    let (slant, light) = (draw.between(-0.15, 0.15), other_light(draw, ground));
    let size = wide.min(high * 0.7);
    let (margin, thick) = (draw.between(0.6, 0.85), draw.between(0.06, 0.22) * size);
    for cell in 0..columns * rows {
        let middle =
            ((cell % columns) as f32 * wide + wide / 2.0, (cell / columns) as f32 * high + high / 2.0);
        let spot = |draw: &mut Draw| {
            let (x, y) = (draw.below(3) as f32 / 2.0 - 0.5, draw.below(5) as f32 / 4.0 - 0.5);
            (middle.0 + (x - y * slant) * size * margin, middle.1 + y * size * 1.4 * margin)
        };
        let mut at = spot(draw);
        for _ in 0..draw.count(2, 4) {
            let next = spot(draw);
            let mut line = vec![at, next];
            if draw.chance(0.5) {
                // Half a turn from the one to the other.
                let (x, y) = ((next.0 - at.0) / 2.0, (next.1 - at.1) / 2.0);
                let bow = |step: u8| {
                    let (cosine, sine) = turn(f32::from(step) / 24.0);
                    (at.0 + x * (1.0 - cosine) + y * sine, at.1 + y * (1.0 - cosine) - x * sine)
                };
                line = (0..=12).map(bow).collect();
            }
            canvas.stroke(&line, thick, &Paint::Plain(light));
            at = if draw.chance(0.7) { next } else { spot(draw) };
        }
    }
    canvas
}

/// Corners and rounds of any paint, one or several, some of them hollow.
pub(super) fn shapes(draw: &mut Draw, side: usize) -> Canvas {
    let (mut canvas, ground) = sheet(draw, side, 0.3);
    for _ in 0..draw.count(1, 5) {
        let (middle, size) = (anywhere(draw), draw.between(0.15, 0.9));
        let (flat, tilt) = (draw.between(0.3, 1.0), draw.share());
        let outline = match draw.below(3) {
            0 => angular(draw, middle, size),
            1 => round(draw, middle, (size, size * flat), tilt, 0.0),
            _ => round(draw, middle, (size, size * flat), tilt, 0.5),
        };
        let light = other_light(draw, ground);
        let paint = Paint::any(draw, light);
        if draw.chance(0.3) {
            let closed: Vec<Point> = outline.iter().chain(outline.first()).copied().collect();
            canvas.stroke(&closed, draw.between(0.02, 0.12), &paint);
        } else {
            canvas.fill(&outline, &paint);
        }
    }
    canvas
}

/// A body with a head, legs, a tail, and what else an animal has.
pub(super) fn animal(draw: &mut Draw, side: usize) -> Canvas {
    let (mut canvas, ground) = sheet(draw, side, 0.65);
    let light = other_light(draw, ground);
    let fur = Paint::any(draw, light);
    let facing = if draw.chance(0.5) { 1.0 } else { -1.0 };
    let (length, depth) = (draw.between(0.25, 0.6), draw.between(0.15, 0.42));
    let body = (draw.between(0.4, 0.6), draw.between(0.4, 0.65));
    let tilt = draw.between(-0.12, 0.2) * -facing;
    let (along, down) = turn(tilt);
    let on = |x: f32, y: f32| {
        let (x, y) = (x * length * facing, y * depth);
        (body.0 + x * along - y * down, body.1 + x * down + y * along)
    };
    let bare = other_light(draw, ground);
    let legs = draw.below(4) + usize::from(draw.chance(0.5));
    let (reach, thin) = (draw.between(0.1, 0.4), draw.between(0.015, 0.09));
    for leg in 0..legs {
        let from = on(-0.3 + 0.6 * leg as f32 / legs.max(2) as f32, 0.3);
        let foot = (from.0 + draw.between(-0.08, 0.08), from.1 + reach);
        canvas.stroke(&[from, foot, (foot.0 + 0.05 * facing, foot.1)], thin, &Paint::Plain(bare));
    }
    if draw.chance(0.8) {
        let (long, wide) = (draw.between(0.15, 0.6), draw.between(0.05, 0.5));
        let lift = draw.between(-0.5, 0.5);
        canvas.fill(
            &[on(-0.3, -0.2), on(-0.5 - long, lift - wide), on(-0.5 - long, lift + wide), on(-0.3, 0.2)],
            &fur,
        );
    }
    let head = (body.0 + facing * (length * draw.between(0.35, 0.6)), body.1 - draw.between(-0.02, 0.35));
    let round_head = draw.between(0.1, 0.26);
    canvas.stroke(&[on(0.3, -0.1), head], round_head * draw.between(0.4, 0.9), &fur);
    let rough = draw.between(0.0, 0.3);
    canvas.fill(&round(draw, body, (length, depth), tilt, rough), &fur);
    let crown = other_light(draw, light);
    let face = if draw.chance(0.5) { Paint::Plain(crown) } else { Paint::Plain(light) };
    canvas.fill(&round(draw, head, (round_head, round_head * 0.9), 0.0, 0.1), &face);
    if draw.chance(0.7) {
        let (long, thick) = (draw.between(0.03, 0.2), round_head * draw.between(0.15, 0.4));
        let from = head.0 + facing * round_head * 0.4;
        let tip = (from + facing * long, head.1 + draw.between(-0.02, 0.06));
        canvas.fill(&[(from, head.1 - thick), tip, (from, head.1 + thick)], &Paint::Plain(bare));
    }
    for ear in 0..draw.below(3) {
        let at = (head.0 + round_head * (ear as f32 - 0.5) * 0.6, head.1 - round_head * 0.5);
        canvas.fill(&angular(draw, at, round_head * 0.7), &face);
    }
    if draw.chance(0.6) {
        let shade = other_light(draw, light);
        let feathers = Paint::any(draw, shade);
        let wing = (length * draw.between(0.4, 0.9), depth * draw.between(0.3, 0.7));
        canvas.fill(&round(draw, on(-0.1, 0.0), wing, tilt, 0.2), &feathers);
    }
    let eye = (head.0 + facing * round_head * 0.15, head.1 - round_head * 0.1);
    canvas.fill(&round(draw, eye, (0.035, 0.035), 0.0, 0.0), &Paint::Plain(1.0 - light.round()));
    canvas
}

/// Things that lie over each other, large and small, until nothing of the ground is left: dead leaves, whose statistics are those of
/// photographs (<https://doi.org/10.1023/A:1011109015675>).
pub(super) fn leaves(draw: &mut Draw, side: usize) -> Canvas {
    let (mut canvas, _) = sheet(draw, side, 1.0);
    let (count, smallest) = (draw.count(10, 120), draw.between(0.03, 0.15));
    let kind = draw.below(4);
    for _ in 0..count {
        // Few are large: their number falls with the third power of their size.
        let size = (smallest / (1.0 - draw.share() * 0.99).sqrt()).min(0.9);
        let middle = (draw.between(-0.1, 1.1), draw.between(-0.1, 1.1));
        let (flat, tilt) = (draw.between(0.3, 1.0), draw.share());
        let outline = match if kind == 3 { draw.below(3) } else { kind } {
            0 => angular(draw, middle, 1.5 * size),
            1 => block(middle, (size, size * flat), tilt),
            _ => round(draw, middle, (size, size * flat), tilt, 0.3),
        };
        let light = draw.share();
        let paint = Paint::any(draw, light);
        canvas.fill(&outline, &paint);
    }
    canvas
}

/// Paint all over.
pub(super) fn texture(draw: &mut Draw, side: usize) -> Canvas {
    let mut canvas = Canvas::sheet(side, 0.0);
    let paint = match draw.below(3) {
        0 => {
            let light = draw.share();
            Paint::any(draw, light)
        }
        _ => Paint::clouds(draw, (0.0, 1.0)),
    };
    canvas.cover(&paint);
    if draw.chance(0.4) {
        // Land and sea.
        let level = draw.between(0.3, 0.7);
        canvas.light.iter_mut().for_each(|light| *light = if *light > level { 1.0 } else { 0.0 });
    }
    if draw.chance(0.4) {
        canvas.grain(draw, 1.0);
    }
    canvas
}

/// What people make, but for clothes: boxes with windows and wheels, frames, posts, plants.
pub(super) fn objects(draw: &mut Draw, side: usize) -> Canvas {
    let (mut canvas, ground) = sheet(draw, side, 0.4);
    let light = other_light(draw, ground);
    let paint = Paint::any(draw, light);
    if draw.chance(0.35) {
        let trunk = draw.between(0.2, 0.4);
        grow(draw, &mut canvas, (0.5, 0.95), 0.75, trunk, &paint, 5);
        return canvas;
    }
    let (wide, high) = (draw.between(0.3, 0.85), draw.between(0.2, 0.6));
    let middle = (0.5, draw.between(0.4, 0.6));
    canvas.fill(&block(middle, (wide, high), 0.0), &paint);
    if draw.chance(0.6) {
        let roof = draw.between(0.1, 0.35);
        let top = middle.1 - high / 2.0;
        let lean = draw.between(-0.3, 0.3) * wide;
        let narrow = draw.between(0.0, 0.4) * wide;
        let left = (middle.0 - wide / 2.0, top);
        let right = (middle.0 + wide / 2.0, top);
        let ridge = [(middle.0 + lean + narrow, top - roof), (middle.0 + lean - narrow, top - roof)];
        canvas.fill(&[left, right, ridge[0], ridge[1]], &paint);
    }
    let shade = Paint::Plain(other_light(draw, light));
    let (columns, rows) = (draw.count(1, 4), draw.count(1, 3));
    for pane in 0..columns * rows {
        let share = |place: usize, of: usize| (place as f32 + 0.5) / of as f32 - 0.5;
        let at =
            (middle.0 + share(pane % columns, columns) * wide, middle.1 + share(pane / columns, rows) * high);
        canvas.fill(&block(at, (0.5 * wide / columns as f32, 0.5 * high / rows as f32), 0.0), &shade);
    }
    let (below, tyre) = (middle.1 + high / 2.0, Paint::Plain(other_light(draw, ground)));
    let (feet, size) = (draw.below(5), draw.between(0.05, 0.25));
    let wheels = draw.chance(0.6);
    for foot in 0..feet {
        let x = middle.0 + ((foot as f32 + 0.5) / feet as f32 - 0.5) * wide;
        if wheels {
            canvas.fill(&round(draw, (x, below), (size, size), 0.0, 0.0), &tyre);
        } else {
            canvas.stroke(&[(x, below), (x, below + size)], 0.04, &tyre);
        }
    }
    canvas
}

/// A branch with branches; `heading` is a share of the whole circle.
fn grow(
    draw: &mut Draw,
    canvas: &mut Canvas,
    from: Point,
    heading: f32,
    length: f32,
    paint: &Paint,
    more: u8,
) {
    let (x, y) = turn(heading);
    let to = (from.0 + x * length, from.1 + y * length);
    canvas.stroke(&[from, to], length * 0.18, paint);
    if more == 0 {
        if draw.chance(0.7) {
            canvas.fill(&round(draw, to, (length, length * 0.7), heading, 0.2), paint);
        }
        return;
    }
    for _ in 0..draw.count(1, 3) {
        let (turned, shorter) = (heading + draw.between(-0.13, 0.13), length * draw.between(0.55, 0.9));
        grow(draw, canvas, to, turned, shorter, paint, more - 1);
    }
}
