//! How well a version does on labelled images, as they are or in other clothes. Each image goes the way of a user's: written as a
//! file, preprocessed as the manifest says, and shown to an instance of the engine.

use model_core::{
    Engine, EngineError, ImageError, ImageLimits, Pixels, PreprocessError, Preprocessor, Scorer,
};
use registry::Manifest;
use serde::Serialize;

use crate::dataset::Dataset;
use crate::parallel::side_by_side;
use crate::variants::{Grey, Variant};

/// Images shown to an instance at a time.
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
    /// An image of the data could not be written as a file.
    #[error("cannot write image {image} as a file")]
    Encode {
        /// The image's place in the data, from 0.
        image: usize,
        /// The encoder's reason.
        source: image::ImageError,
    },
    /// The preprocessing refused an image.
    #[error("image {image} cannot be used")]
    Image {
        /// The image's place in the data, from 0.
        image: usize,
        /// What was wrong with it.
        source: ImageError,
    },
    /// The manifest asks for a preprocessing that this build has not.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The engine failed.
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

/// How an evaluation is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is made of each image before it is shown.
    pub variant: Variant,
    /// Fixes what a variant draws.
    pub seed: u64,
    /// Instances of the engine side by side, each on a thread of its own.
    pub instances: usize,
}

/// Shows all images to instances of the engine; `on` hears how many are done.
///
/// # Errors
/// A label without a class, or an image or batch that fails.
pub fn evaluate(
    engine: &dyn Engine,
    manifest: &Manifest,
    data: &Dataset,
    options: &Options,
    on: &mut dyn FnMut(usize),
) -> Result<Evaluation, EvaluateError> {
    let classes = &manifest.classes;
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
    let class = |(image, &label): (usize, &u8)| {
        let place = tally.iter().position(|class| class.index == u32::from(label));
        place.ok_or(EvaluateError::Label { image, label })
    };
    let places: Vec<usize> = data.labels.iter().enumerate().map(class).collect::<Result<_, _>>()?;

    let (preprocessor, scorer) = (&Preprocessor::new(manifest)?, &Scorer::new(manifest));
    let part = Part { preprocessor, scorer, data, options };
    let instances: Vec<Box<dyn Engine>> =
        (0..options.instances.max(1)).map(|_| engine.share()).collect::<Result<_, _>>()?;
    let batches: Vec<usize> = (0..data.len()).step_by(BATCH).collect();
    let mut done = 0;
    let named = |engine: &mut Box<dyn Engine>, &first: &usize| part.named(&mut **engine, first);
    side_by_side(&batches, instances, named, |_, named| {
        let (first, named) = named?;
        for (index, &place) in named.iter().zip(&places[first..]) {
            let class = &mut tally[place];
            class.images += 1;
            class.correct += usize::from(*index == Some(class.index));
        }
        done += named.len();
        on(done);
        Ok::<_, EvaluateError>(())
    })?;

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

/// What all instances look at.
struct Part<'a> {
    preprocessor: &'a Preprocessor,
    scorer: &'a Scorer,
    data: &'a Dataset,
    options: &'a Options,
}

impl Part<'_> {
    /// The batch's place, and for each of its images the class that is named first.
    fn named(
        &self,
        engine: &mut dyn Engine,
        first: usize,
    ) -> Result<(usize, Vec<Option<u32>>), EvaluateError> {
        let batch = self.data.images().enumerate().skip(first).take(BATCH);
        let pixels: Vec<Pixels> =
            batch.map(|(position, image)| self.prepare(position, image)).collect::<Result<_, _>>()?;
        let logits = engine.logits(&pixels.iter().collect::<Vec<_>>())?;
        let best = |(pixels, logits): (&Pixels, Vec<f32>)| {
            self.scorer.top_k(pixels, logits, 1).first().and_then(|prediction| prediction.index)
        };
        Ok((first, pixels.iter().zip(logits).map(best).collect()))
    }

    fn prepare(&self, position: usize, image: &[u8]) -> Result<Pixels, EvaluateError> {
        let Options { variant, seed, .. } = *self.options;
        let image = Grey { pixels: image, width: self.data.columns as u32, height: self.data.rows as u32 };
        let file = variant
            .file(image, seed, position)
            .map_err(|source| EvaluateError::Encode { image: position, source })?;
        self.preprocessor
            .decode(&file, &ImageLimits::default())
            .map_err(|source| EvaluateError::Image { image: position, source })
    }
}
