//! Pictures made of the training images that show none of the classes any more: several things, and things taken to pieces.

use super::super::draw::Draw;
use super::canvas::Canvas;
use crate::dataset::Dataset;

/// How different two images must be to be no single thing when laid over each other: the mean difference of their pixels.
const DIFFERENT: f32 = 0.25;
const TRIES: usize = 20;

fn image<'a>(draw: &mut Draw, things: &'a Dataset) -> (&'a [u8], u8) {
    let place = draw.below(things.len());
    let size = things.rows * things.columns;
    (&things.pixels[place * size..(place + 1) * size], things.labels[place])
}

/// The square parts of one image or several, each at another place.
pub(super) fn jigsaw(draw: &mut Draw, things: &Dataset) -> Canvas {
    let side = things.rows;
    // Parts of equal sides; 28 is divided by all but 3, whose last parts are a pixel larger.
    let parts = draw.count(2, 4);
    let sources: Vec<&[u8]> = (0..draw.count(1, 4)).map(|_| image(draw, things).0).collect();
    let mut order: Vec<usize> = (0..parts * parts).collect();
    draw.shuffle(&mut order);
    if order.is_sorted() {
        order.reverse();
    }
    let mut canvas = Canvas::sheet(side, 0.0);
    let size = side / parts;
    for (to, from) in order.into_iter().enumerate() {
        let source = sources[draw.below(sources.len())];
        for row in 0..size {
            for column in 0..size {
                let pixel = source[(from / parts * size + row) * side + from % parts * size + column];
                let at = (to / parts * size + row) * side + to % parts * size + column;
                canvas.light[at] = f32::from(pixel) / 255.0;
            }
        }
    }
    canvas
}

/// Two to nine things beside and above each other.
pub(super) fn collage(draw: &mut Draw, things: &Dataset) -> Canvas {
    let side = things.rows;
    let (across, down) = [(2, 1), (1, 2), (2, 2), (3, 3)][draw.below(4)];
    let count = usize::max(across, down);
    let mut canvas = Canvas::sheet(side * count, 0.0);
    for place in 0..across * down {
        let (thing, _) = image(draw, things);
        let (left, top) = (place % across * side, place / across * side);
        for (at, &pixel) in thing.iter().enumerate() {
            canvas.light[(top + at / side) * canvas.side + left + at % side] = f32::from(pixel) / 255.0;
        }
    }
    canvas
}

/// Two things of different classes and shapes in the same place, each seen through the other.
pub(super) fn double(draw: &mut Draw, things: &Dataset) -> Canvas {
    let mut canvas = Canvas::sheet(things.rows, 0.0);
    for _ in 0..TRIES {
        let ((a, one), (b, other)) = (image(draw, things), image(draw, things));
        let pairs = || a.iter().zip(b).map(|(&a, &b)| (f32::from(a) / 255.0, f32::from(b) / 255.0));
        let difference = pairs().map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32;
        canvas.light = pairs().map(|(a, b)| f32::midpoint(a, b)).collect();
        if one != other && difference > DIFFERENT {
            return canvas;
        }
    }
    collage(draw, things)
}
