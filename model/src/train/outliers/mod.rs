//! Pictures of what is none of the classes, for a net to learn to say so (outlier exposure, <https://arxiv.org/abs/1812.04606>). No
//! photograph is needed: they are drawn by chance, from a seed, each the same wherever and whenever it is drawn, and go the way of
//! any user's file to the net's input.

mod canvas;
mod scenes;
mod things;

use std::io::Cursor;
use std::thread;

use image::codecs::png;
use image::{ExtendedColorType, ImageEncoder as _};
use model_core::{ImageLimits, Preprocessor};

use self::canvas::Canvas;
use super::TrainError;
use super::draw::Draw;
use crate::dataset::Dataset;
use crate::parallel::side_by_side;

/// A picture in which nothing is found is drawn anew, so often at most.
const TRIES: usize = 50;

/// A grey picture, row by row.
struct Picture {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// `count` images in the form that a net of `things`' images takes, as `preprocessor` makes it of files, one after another. Those
/// that are made of images are made of `things`, whose size is the net's.
///
/// # Errors
/// A preprocessing that refuses a picture.
pub fn make(
    count: usize,
    seed: u64,
    things: &Dataset,
    preprocessor: &Preprocessor,
) -> Result<Vec<u8>, TrainError> {
    let places: Vec<usize> = (0..count).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let size = things.rows * things.columns;
    let mut images = vec![0; count * size];
    side_by_side(
        &places,
        vec![(); workers],
        |(), &place| one(seed, place, things, preprocessor),
        |place, image| {
            images[place * size..(place + 1) * size].copy_from_slice(&image?);
            Ok::<_, TrainError>(())
        },
    )?;
    Ok(images)
}

/// The picture at a place, as the net's input.
fn one(
    seed: u64,
    place: usize,
    things: &Dataset,
    preprocessor: &Preprocessor,
) -> Result<Vec<u8>, TrainError> {
    let mut draw = Draw::of(seed, place);
    let mut pixels = Vec::new();
    for _ in 0..TRIES {
        let file = picture(&mut draw, things).file()?;
        let limits = ImageLimits::default();
        pixels = preprocessor.decode(&file, &limits).map_err(|error| unusable(&error))?.data;
        if pixels.iter().any(|&pixel| pixel > 0) {
            break;
        }
    }
    Ok(pixels)
}

fn unusable(error: &dyn std::error::Error) -> TrainError {
    TrainError::Data(format!("a picture of none of the classes can't be made: {error}"))
}

fn picture(draw: &mut Draw, things: &Dataset) -> Picture {
    let side = draw.count(40, 120);
    let mut canvas = match draw.below(100) {
        0..8 => scenes::scribble(draw, side),
        8..20 => scenes::writing(draw, side),
        20..32 => scenes::shapes(draw, side),
        32..54 => scenes::animal(draw, side),
        54..68 => scenes::leaves(draw, side),
        68..76 => scenes::texture(draw, side),
        76..82 => scenes::objects(draw, side),
        82..90 => return Picture::whole(&things::jigsaw(draw, things)),
        90..97 => return Picture::whole(&things::collage(draw, things)),
        _ => return Picture::whole(&things::double(draw, things)),
    };
    if draw.chance(0.3) {
        canvas.blur(draw.count(1, 3));
    }
    if draw.chance(0.3) {
        let grain = draw.between(0.0, 0.1);
        canvas.grain(draw, grain);
    }
    Picture::part(draw, &canvas)
}

impl Picture {
    fn whole(canvas: &Canvas) -> Self {
        Self { width: canvas.side, height: canvas.side, bytes: canvas.bytes() }
    }

    /// The middle of a sheet, in the proportions of a photograph.
    fn part(draw: &mut Draw, canvas: &Canvas) -> Self {
        let shorter = (canvas.side as f32 * draw.between(0.6, 1.0)) as usize;
        let (width, height) = match draw.below(3) {
            0 => (canvas.side, shorter),
            1 => (shorter, canvas.side),
            _ => (canvas.side, canvas.side),
        };
        let (left, top) = ((canvas.side - width) / 2, (canvas.side - height) / 2);
        let all = canvas.bytes();
        let rows = all.chunks_exact(canvas.side).skip(top).take(height);
        Self { width, height, bytes: rows.flat_map(|row| &row[left..left + width]).copied().collect() }
    }

    fn file(&self) -> Result<Vec<u8>, TrainError> {
        let mut file = Cursor::new(Vec::new());
        let encoder = png::PngEncoder::new_with_quality(
            &mut file,
            png::CompressionType::Fast,
            png::FilterType::NoFilter,
        );
        encoder
            .write_image(&self.bytes, self.width as u32, self.height as u32, ExtendedColorType::L8)
            .map_err(|error| unusable(&error))?;
        Ok(file.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use registry::FileEntry;

    use super::*;

    /// Squares and bars of 28 x 28.
    fn things() -> Dataset {
        let image = |wide: usize| (0..784).map(move |at| if at % 28 < wide { 200 } else { 0 });
        Dataset {
            rows: 28,
            columns: 28,
            pixels: [20, 6, 27].into_iter().flat_map(image).collect(),
            labels: vec![0, 1, 2],
        }
    }

    #[test]
    fn the_pictures_are_the_same_bytes_on_each_machine_and_in_each_release() {
        let things = things();
        let mut all = Vec::new();
        for place in 0..200 {
            let Picture { width, height, bytes } = picture(&mut Draw::of(1, place), &things);
            assert_eq!(bytes.len(), width * height);
            all.extend(bytes);
        }
        let digest = FileEntry::of_bytes(&all).sha256;
        assert_eq!(digest, "01007414adf20adaf7df053e460895c2b1cd51146fc59cbc1eeb9628e8e1c684");
    }

    #[test]
    fn they_differ_and_show_something() {
        let preprocessor = Preprocessor::new(&crate::train::publish::manifest(&Default::default())).unwrap();
        let make = |count, seed| make(count, seed, &things(), &preprocessor).unwrap();
        let images = make(60, 1);
        let seen: HashSet<&[u8]> = images.chunks_exact(784).collect();
        // The three images here can be put beside each other in a few ways only.
        assert!(images.len() == 60 * 784 && seen.len() > 55, "{}", seen.len());
        assert!(images.chunks_exact(784).all(|image| image.iter().any(|&pixel| pixel > 0)));
        // However many there are, and whatever number of threads draws them.
        assert_eq!(make(7, 1), images[..7 * 784]);
        assert_ne!(make(7, 2), images[..7 * 784]);
    }
}
