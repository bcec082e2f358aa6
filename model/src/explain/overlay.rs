//! A heat map laid over the picture that it is about.

use model_core::{Pixels, Placement, Shown};

use super::{HeatMap, colour};

/// How much of the picture shows through where the map is.
const PICTURE: f32 = 0.5;

/// A place in a picture, in pixels from its left and upper border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Across.
    pub x: f64,
    /// Down.
    pub y: f64,
}

/// Where the map is highest, in pixels of the picture as it is shown, at the size that the file has; nothing if nothing in the picture speaks
/// for the class.
#[must_use]
pub fn peak(map: &HeatMap, placement: &Placement, shown: &Shown) -> Option<Place> {
    let (cell, _) = highest(map, placement)?;
    let (across, down) = placement.in_picture(map.middle(cell));
    Some(Place { x: across * f64::from(shown.width), y: down * f64::from(shown.height) })
}

/// The picture, half of it the map's colours where the net saw it, the hottest place as 1. What the net did not see stays as it is.
#[must_use]
pub fn drawn(shown: Shown, map: &HeatMap, placement: &Placement) -> Pixels {
    let mut pixels = shown.pixels;
    let most = highest(map, placement).map_or(1.0, |(_, most)| most);
    let colours: Vec<[u8; 3]> = (0_u8..=255).map(|heat| colour::of(f32::from(heat) / 255.0)).collect();
    let (width, height) = (f64::from(pixels.width), f64::from(pixels.height));
    let row = 3 * pixels.width.max(1) as usize;
    for (y, row) in pixels.data.chunks_exact_mut(row).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let place = placement.in_square(((x as f64 + 0.5) / width, (y as f64 + 0.5) / height));
            if !is_in(place) {
                continue;
            }
            let heat = (map.value(place) / most).clamp(0.0, 1.0);
            let colour = colours[(255.0 * heat).round() as usize];
            for (value, colour) in pixel.iter_mut().zip(colour) {
                // A mean of two bytes.
                *value = (PICTURE * f32::from(*value) + (1.0 - PICTURE) * f32::from(colour)).round() as u8;
            }
        }
    }
    pixels
}

/// The hottest of the cells whose middle lies in the picture, and its heat, if there is any. (Others lie where the picture was padded.)
fn highest(map: &HeatMap, placement: &Placement) -> Option<(usize, f32)> {
    let in_picture = |&(cell, _): &(usize, f32)| is_in(placement.in_picture(map.middle(cell)));
    let cells = map.values.iter().copied().enumerate().filter(in_picture);
    cells.filter(|&(_, heat)| heat > 0.0).max_by(|(_, a), (_, b)| a.total_cmp(b))
}

fn is_in((across, down): (f64, f64)) -> bool {
    (0.0..=1.0).contains(&across) && (0.0..=1.0).contains(&down)
}
