//! Training images as they come from elsewhere: in the clothes of [`Variant`], and of any size, brought to the net's input as any user's file.

use std::io::Cursor;
use std::thread;

use image::imageops::{self, FilterType};
use image::{GrayImage, ImageFormat};
use model_core::{ImageLimits, Preprocessor};

use super::TrainError;
use super::draw::Draw;
use crate::dataset::Dataset;
use crate::parallel::side_by_side;
use crate::variants::{Grey, Variant};

/// Of how many pictures so many are of any size, drawn by chance; the others are each kind of variant as often as another.
const RESIZED: f32 = 0.4;
/// Sides of those are up to so many times the image's.
const LARGEST: f32 = 6.0;

/// Each image of `data` in other clothes, one after another.
///
/// # Errors
/// An encoder that fails, or a preprocessing that refuses a picture.
pub(super) fn dress(data: &Dataset, seed: u64, preprocessor: &Preprocessor) -> Result<Dataset, TrainError> {
    let places: Vec<usize> = (0..data.len()).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let size = data.rows * data.columns;
    let mut pixels = vec![0; data.pixels.len()];
    side_by_side(
        &places,
        vec![(); workers],
        |(), &place| {
            let file = file(data, seed, place).map_err(|error| unusable(&error))?;
            preprocessor.decode(&file, &ImageLimits::default()).map_err(|error| unusable(&error))
        },
        |place, image| {
            pixels[place * size..(place + 1) * size].copy_from_slice(&image?.data);
            Ok::<_, TrainError>(())
        },
    )?;
    Ok(Dataset { pixels, labels: data.labels.clone(), ..*data })
}

fn unusable(error: &dyn std::error::Error) -> TrainError {
    TrainError::Data(format!("an image can't be shown in other clothes: {error}"))
}

fn file(data: &Dataset, seed: u64, place: usize) -> Result<Vec<u8>, image::ImageError> {
    let size = data.rows * data.columns;
    let pixels = &data.pixels[place * size..(place + 1) * size];
    let (width, height) = (data.columns as u32, data.rows as u32);
    let mut draw = Draw::of(!seed, place);
    if !draw.chance(RESIZED) {
        // The first is the image as it is.
        let variant = Variant::ALL[1 + draw.below(Variant::ALL.len() - 1)];
        return variant.file(Grey { pixels, width, height }, seed, place);
    }
    let negative = draw.chance(0.5);
    let light = pixels.iter().map(|&pixel| if negative { !pixel } else { pixel }).collect();
    let image = GrayImage::from_raw(width, height, light).unwrap_or_default();
    let times = draw.between(1.1, LARGEST);
    let side = |side: u32| (side as f32 * times) as u32;
    let filters = [FilterType::Triangle, FilterType::CatmullRom, FilterType::Lanczos3, FilterType::Gaussian];
    let resized = imageops::resize(&image, side(width), side(height), filters[draw.below(filters.len())]);
    let format = if draw.chance(0.3) { ImageFormat::Jpeg } else { ImageFormat::Bmp };
    let mut file = Cursor::new(Vec::new());
    resized.write_to(&mut file, format)?;
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thing_is_the_same_and_its_pixels_are_not() {
        // A dress: as high as the picture, wider and lighter below.
        let bar = |at: usize| match (at / 28, at % 28) {
            (0..14, 10..19) => 140,
            (14.., 5..24) => 240,
            _ => 0,
        };
        let data = Dataset {
            rows: 28,
            columns: 28,
            pixels: (0..40 * 784).map(|at| bar(at % 784)).collect(),
            labels: vec![3; 40],
        };
        let preprocessor = Preprocessor::new(&crate::train::publish::manifest(&Default::default())).unwrap();
        let dressed = dress(&data, 1, &preprocessor).unwrap();
        assert_eq!((dressed.len(), dressed.labels.clone()), (40, data.labels.clone()));
        let far = dressed.images().zip(data.images()).map(|(a, b)| {
            let difference: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
            difference / 784
        });
        let far: Vec<u32> = far.collect();
        assert!(far.iter().all(|&far| far < 45), "{far:?}");
        assert!(far.iter().filter(|&&far| far > 0).count() > 10, "{far:?}");
        assert_eq!(dress(&data, 1, &preprocessor).unwrap(), dressed);
        assert_ne!(dress(&data, 2, &preprocessor).unwrap(), dressed);
    }
}
