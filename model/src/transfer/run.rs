//! From the images to a last layer that is fitted on all of them, and what is known of it from images that were kept out.

use std::path::Path;

use model_core::Preprocessor;
use registry::ModelVersion;
use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use super::config::{ClassWeights, TransferConfig};
use super::features::{Extractor, Features};
use super::folder::Folder;
use super::head::{self, Fitted, Layer, Rows};
use super::publish::{Files, Found};
use super::reject::{self, Threshold};
use super::split::{Split, folds, stratified};
use super::{TransferError, publish};
use crate::calibration::fit_temperature;
use crate::onnx::numbers;
use crate::{Device, Predictor};

/// Into how many parts the classes are cut, to leave out one part after another.
const PARTS: usize = 5;

/// What is to be learned, and from what.
#[derive(Debug)]
pub struct Job<'a> {
    /// How.
    pub config: &'a TransferConfig,
    /// The images.
    pub folder: &'a Folder,
    /// Images of none of the classes, to choose the threshold by.
    pub others: Option<&'a Folder>,
    /// The version whose net is taken.
    pub backbone: &'a ModelVersion,
    /// The result's name.
    pub name: &'a str,
    /// Into how many folds the images are cut to measure how far the accuracy varies; none for no such thing.
    pub folds: Option<usize>,
    /// The command that does this; written into the result's manifest.
    pub command: &'a str,
    /// The folder where features are kept.
    pub cache: &'a Path,
    /// Threads to compute with.
    pub threads: usize,
}

/// What a run tells whoever watches it.
#[derive(Debug)]
pub enum Event {
    /// So many images of so many have features.
    Features {
        /// Images done.
        done: usize,
        /// Of how many.
        images: usize,
    },
    /// An epoch of one of the layers is done.
    Epoch {
        /// Which layer, counted from 1 ...
        layer: usize,
        /// ... of how many.
        layers: usize,
        /// Counted from 1.
        epoch: usize,
        /// At most.
        epochs: usize,
        /// Mean training loss.
        loss: f64,
        /// Share of the images kept out that were named right, if it was looked.
        accuracy: Option<f64>,
    },
}

/// What is known of the result, from images that what was measured had not learned from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Share of the images kept out whose likeliest class is theirs.
    pub accuracy: f64,
    /// Share of them whose class is among the five likeliest.
    pub top5: f64,
    /// How many.
    pub images: usize,
    /// The accuracy of each fold.
    pub folds: Vec<f64>,
    /// Share of images of the classes that are called none of them.
    pub own_rejected: f64,
    /// Share of other images that are; none where there was none to try.
    pub others_rejected: Option<f64>,
    /// What those were.
    pub others: Others,
    /// How many epochs the layer is fitted.
    pub epochs: usize,
    /// By which logits are divided.
    pub temperature: f64,
}

/// Which images of none of the classes there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Others {
    /// Those that were given.
    Given,
    /// Those of classes that were left out in turn.
    ClassesLeftOut,
    /// None: there are too few classes to leave one out.
    None,
}

/// A result that is no version yet.
#[derive(Debug)]
pub struct Trained {
    /// What is known of it.
    pub measured: Measured,
    /// What it is.
    pub manifest: registry::Manifest,
    /// Its files, by the names in the manifest.
    pub files: Files,
}

/// Learns the classes of a folder. The same images, configuration and backbone give the same result on one kind of processor.
///
/// # Errors
/// If the backbone is none of the project's own nets, an image changed meanwhile, or a file can't be written.
pub fn train(job: &Job<'_>, on: &mut dyn FnMut(Event)) -> Result<Trained, TransferError> {
    let Job { config, folder, backbone, .. } = *job;
    if folder.classes.len() < 2 {
        return Err(TransferError::Data(
            "there are fewer than two classes: nothing can be told apart".into(),
        ));
    }
    let predictor = Predictor::load(backbone, Device::Cpu)?;
    let preprocessor = Preprocessor::new(&backbone.manifest)
        .map_err(|error| TransferError::Data(format!("the backbone can't be used: {error}")))?;
    let extractor = Extractor {
        digest: &backbone.digest,
        preprocessor: &preprocessor,
        augmentation: &config.augmentation,
        seed: config.seed,
        cache: job.cache,
        threads: job.threads,
    };
    // Each instance on a thread of its own.
    tch::set_num_threads(1);
    let more = job.others.map_or(0, |others| others.images.len());
    let total = folder.images.len() + more;
    let mut told = |done, _| on(Event::Features { done, images: total });
    let features = extractor.all(&predictor, folder, &mut told)?;
    let other_features = match job.others {
        Some(others) => {
            let before = folder.images.len();
            Some(extractor.all(&predictor, others, &mut |done, _| {
                on(Event::Features { done: before + done, images: total })
            })?)
        }
        None => None,
    };
    tch::set_num_threads(job.threads.try_into().unwrap_or(1));
    let class = folder.images.iter().map(|image| image.class).collect();
    let images = Images { features: &features, class, classes: folder.classes.len(), config };
    let mut fitting = Fitting { images: &images, config, layer: 0, layers: 0, on };
    let (layer, measured, threshold) = fitting.all(job, other_features.as_ref())?;
    let found = Found { job, layer: &layer, measured: &measured, threshold };
    let (manifest, files) = publish::version(&found)?;
    Ok(Trained { measured, manifest, files })
}

/// The images with their features.
struct Images<'a> {
    features: &'a Features,
    class: Vec<usize>,
    classes: usize,
    config: &'a TransferConfig,
}

impl Images<'_> {
    /// All views of the images at `places`, or the plain one alone.
    fn rows(&self, places: &[usize], all_views: bool) -> Result<Rows, TchError> {
        let Features { width, views, ref values } = *self.features;
        let taken = if all_views { views } else { 1 };
        let image = views * width;
        let mut rows: Vec<f32> = Vec::with_capacity(places.len() * taken * width);
        places.iter().for_each(|&place| rows.extend_from_slice(&values[place * image..][..taken * width]));
        let mut count = vec![0_u32; self.classes];
        places.iter().for_each(|&place| count[self.class[place]] += 1);
        let weight = |class: usize| match self.config.class_weights {
            ClassWeights::None => 1.0,
            ClassWeights::Balanced => {
                (places.len() as f64 / (self.classes as f64 * f64::from(count[class].max(1)))) as f32
            }
        };
        let each = |place: &usize| std::iter::repeat_n(self.class[*place], taken);
        let labels: Vec<i64> = places.iter().flat_map(each).map(|class| class as i64).collect();
        let weights: Vec<f32> = places.iter().flat_map(each).map(weight).collect();
        Ok(Rows {
            features: Tensor::f_from_slice(&rows)?.f_view([labels.len() as i64, width as i64])?,
            labels: Tensor::f_from_slice(&labels)?,
            weights: Tensor::f_from_slice(&weights)?,
        })
    }
}

/// What a layer says of images that it has not learned from.
struct Fold {
    accuracy: f64,
    top5: f64,
    /// `[n, classes]`.
    logits: Tensor,
    /// `[n]`.
    labels: Tensor,
}

/// One layer after another.
struct Fitting<'a> {
    images: &'a Images<'a>,
    config: &'a TransferConfig,
    layer: usize,
    layers: usize,
    on: &'a mut dyn FnMut(Event),
}

impl Fitting<'_> {
    fn all(
        &mut self,
        job: &Job<'_>,
        others: Option<&Features>,
    ) -> Result<(Layer, Measured, Threshold), TransferError> {
        let (images, config) = (self.images, self.config);
        let everything: Vec<usize> = (0..images.class.len()).collect();
        let split = stratified(&everything, &images.class, config.held_out, config.seed);
        if split.kept_out.is_empty() {
            return Err(TransferError::Data(
                "no class has two images: one to learn from and one to measure by is the least".into(),
            ));
        }
        let parts = if others.is_none() && images.classes > 2 { PARTS.min(images.classes) } else { 0 };
        self.layers = 3 + job.folds.unwrap_or(0) + parts;

        // How long to learn is chosen by images that are not measured by.
        let inner = stratified(&split.learned, &images.class, config.held_out, config.seed.wrapping_add(1));
        let check = if inner.kept_out.is_empty() { &split } else { &inner };
        let checked = images.rows(&check.kept_out, false)?;
        let epochs = self.fit(&inner.learned, config.head.epochs, Some(&checked))?.epochs;

        let held_out = self.fold(&split, epochs)?;
        let of_folds = match job.folds {
            Some(count) => folds(&everything, &images.class, count, config.seed)
                .iter()
                .map(|fold| self.fold(fold, epochs))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let looked_at = if of_folds.is_empty() { std::slice::from_ref(&held_out) } else { &of_folds };
        let all = |of: fn(&Fold) -> &Tensor| Tensor::f_cat(&looked_at.iter().map(of).collect::<Vec<_>>(), 0);
        let (logits, labels) = (all(|fold| &fold.logits)?, all(|fold| &fold.labels)?);
        let places: Vec<i64> = Vec::try_from(&labels)?;
        let places: Vec<usize> = places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect();
        let temperature = fit_temperature(&numbers(&logits)?, images.classes, &places)?;
        let own = reject::scores(&logits, temperature)?;

        let layer = self.fit(&everything, epochs, None)?.layer;
        let (strange, kind) = match others {
            Some(features) => {
                (reject::scores(&layer.logits(&plain(features)?)?, temperature)?, Others::Given)
            }
            None if parts > 0 => (self.left_out(parts, epochs, temperature)?, Others::ClassesLeftOut),
            None => (Vec::new(), Others::None),
        };
        let threshold = reject::choose(&own, &strange, config.reject.most)
            .ok_or_else(|| TransferError::Data("no image was kept out to measure by".into()))?;
        let measured = Measured {
            accuracy: held_out.accuracy,
            top5: held_out.top5,
            images: split.kept_out.len(),
            folds: of_folds.iter().map(|fold| fold.accuracy).collect(),
            own_rejected: threshold.own_rejected,
            others_rejected: threshold.others_rejected,
            others: kind,
            epochs,
            temperature,
        };
        Ok((layer, measured, threshold))
    }

    /// What a layer that has learned from the one part says of the other.
    fn fold(&mut self, split: &Split, epochs: usize) -> Result<Fold, TransferError> {
        let layer = self.fit(&split.learned, epochs, None)?.layer;
        let Rows { features, labels, .. } = self.images.rows(&split.kept_out, false)?;
        let logits = layer.logits(&features)?;
        let top = |k: i64| -> Result<f64, TchError> {
            let (_, named) = logits.f_topk(k.min(self.images.classes as i64), -1, true, true)?;
            let right = named.f_eq_tensor(&labels.f_unsqueeze(1)?)?.f_sum(Kind::Int64)?;
            Ok(right.f_double_value(&[])? / split.kept_out.len() as f64)
        };
        Ok(Fold { accuracy: top(1)?, top5: top(5)?, logits, labels })
    }

    /// The scores of images of classes that a layer has never seen, part after part.
    fn left_out(&mut self, parts: usize, epochs: usize, temperature: f64) -> Result<Vec<f64>, TransferError> {
        let images = self.images;
        let mut all = Vec::new();
        for part in 0..parts {
            let is_out = |place: &usize| images.class[*place] % parts == part;
            let (out, known): (Vec<usize>, Vec<usize>) = (0..images.class.len()).partition(is_out);
            let layer = self.fit(&known, epochs, None)?.layer;
            // Of classes that it has never seen it says nothing, which is no low score but none.
            let known: Vec<i64> =
                (0..images.classes).filter(|class| class % parts != part).map(|class| class as i64).collect();
            let rows = images.rows(&out, false)?;
            let logits = layer.logits(&rows.features)?.f_index_select(1, &Tensor::f_from_slice(&known)?)?;
            all.extend(reject::scores(&logits, temperature)?);
        }
        Ok(all)
    }

    fn fit(
        &mut self,
        places: &[usize],
        epochs: usize,
        check: Option<&Rows>,
    ) -> Result<Fitted, TransferError> {
        self.layer += 1;
        let (layer, layers) = (self.layer, self.layers);
        let rows = self.images.rows(places, true)?;
        let on = &mut self.on;
        let mut told = |head::Epoch { epoch, loss, accuracy }| {
            on(Event::Epoch { layer, layers, epoch, epochs, loss, accuracy });
        };
        let (config, classes) = (self.config, self.images.classes);
        Ok(head::fit(&rows, classes, &config.head, config.seed, epochs, check, &mut told)?)
    }
}

/// The plain view of each image.
fn plain(features: &Features) -> Result<Tensor, TchError> {
    let Features { width, views, ref values } = *features;
    let rows: Vec<f32> =
        values.chunks_exact(views * width).flat_map(|image| image[..width].to_vec()).collect();
    Tensor::f_from_slice(&rows)?.f_view([-1, width as i64])
}
