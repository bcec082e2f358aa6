//! How well a version does on labelled images. Each image goes the way of a user's: written as a PNG file, preprocessed as the
//! manifest says, and shown to the one predictor.

use std::io::Cursor;

use image::{ExtendedColorType, ImageEncoder, codecs::png};
use model_core::{EngineError, ImageError, ImageLimits, Pixels, PreprocessError, Preprocessor};
use registry::Manifest;
use serde::Serialize;

use crate::Predictor;
use crate::dataset::Dataset;

/// Images shown to the predictor at a time.
const BATCH: usize = 128;

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The data has a label that the model has no class for.
    #[error(
        "image {image} has label {label}, and the model has no class of that number: this data is not the model's"
    )]
    Label {
        /// The image's place in the data, from 0.
        image: usize,
        /// Its label.
        label: u8,
    },
    /// An image of the data could not be written as a PNG.
    #[error("cannot write image {image} as a PNG: {reason}")]
    Encode {
        /// The image's place in the data, from 0.
        image: usize,
        /// The encoder's reason.
        reason: String,
    },
    /// The preprocessing refused an image.
    #[error("image {image}: {source}")]
    Image {
        /// The image's place in the data, from 0.
        image: usize,
        /// What was wrong with it.
        source: ImageError,
    },
    /// The manifest asks for a preprocessing that this build has not.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The predictor failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Share of images whose first prediction is their label, from 0 to 1.
    pub accuracy: f64,
    /// How many of them.
    pub correct: usize,
    /// Of how many.
    pub images: usize,
    /// The same for each class.
    pub classes: Vec<ClassAccuracy>,
}

/// One class's part of an [`Evaluation`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassAccuracy {
    /// The class's number.
    pub index: u32,
    /// Its name.
    pub label: String,
    /// Share of its images named right; none where there is no image of it.
    pub accuracy: Option<f64>,
    /// How many of them.
    pub correct: usize,
    /// Of how many.
    pub images: usize,
}

/// Shows all images to the predictor; `on` hears how many are done.
///
/// # Errors
/// A label without a class, or an image or batch that fails.
pub fn evaluate(
    predictor: &Predictor,
    manifest: &Manifest,
    data: &Dataset,
    on: &mut dyn FnMut(usize),
) -> Result<Evaluation, EvaluateError> {
    let classes = &manifest.classes;
    let preprocessor = Preprocessor::new(manifest)?;
    let mut tally: Vec<ClassAccuracy> = classes
        .labels
        .iter()
        .map(|class| ClassAccuracy {
            index: class.index,
            label: class.label.clone(),
            accuracy: None,
            correct: 0,
            images: 0,
        })
        .collect();
    let images: Vec<&[u8]> = data.images().collect();
    for (batch, (images, labels)) in images.chunks(BATCH).zip(data.labels.chunks(BATCH)).enumerate() {
        let first = batch * BATCH;
        let pixels = images
            .iter()
            .enumerate()
            .map(|(i, image)| prepare(&preprocessor, image, data, first + i))
            .collect::<Result<Vec<Pixels>, _>>()?;
        let scores = predictor.predict(&pixels.iter().collect::<Vec<_>>())?;
        for (i, (scores, &label)) in scores.iter().zip(labels).enumerate() {
            let class = tally
                .iter_mut()
                .find(|class| class.index == u32::from(label))
                .ok_or(EvaluateError::Label { image: first + i, label })?;
            class.images += 1;
            let best = scores.top_k(classes, 1);
            if best.first().is_some_and(|best| best.index == Some(class.index)) {
                class.correct += 1;
            }
        }
        on(first + images.len());
    }
    for class in &mut tally {
        class.accuracy = (class.images > 0).then(|| class.correct as f64 / class.images as f64);
    }
    let correct: usize = tally.iter().map(|class| class.correct).sum();
    Ok(Evaluation {
        accuracy: correct as f64 / data.len().max(1) as f64,
        correct,
        images: data.len(),
        classes: tally,
    })
}

fn prepare(
    preprocessor: &Preprocessor,
    image: &[u8],
    data: &Dataset,
    position: usize,
) -> Result<Pixels, EvaluateError> {
    let file = grey_png(image, data.columns as u32, data.rows as u32)
        .map_err(|error| EvaluateError::Encode { image: position, reason: error.to_string() })?;
    preprocessor
        .decode(&file, &ImageLimits::default())
        .map_err(|source| EvaluateError::Image { image: position, source })
}

fn grey_png(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, image::ImageError> {
    let mut file = Cursor::new(Vec::new());
    png::PngEncoder::new_with_quality(&mut file, png::CompressionType::Fast, png::FilterType::NoFilter)
        .write_image(pixels, width, height, ExtendedColorType::L8)?;
    Ok(file.into_inner())
}
