//! From the images to a last layer that is fitted on all of them, and what is known of it from images that were kept out.

use model_core::Preprocessor;
use tch::{Kind, TchError, Tensor};

use super::activations::{Activations, Source};
use super::checkpoint::{Checkpoint, Identity};
use super::config::TransferConfig;
use super::features::{Extractor, Features};
use super::folder::Labelled;
use super::head::{self, Fitted, Layer, Rows};
use super::images::{Images, plain};
use super::job::{Event, Job, Measured, Others, Trained, Tuning};
use super::publish::Found;
use super::reject::{self, Threshold};
use super::split::{Split, folds, stratified};
use super::tail::{Named, Tail};
use super::tuning::{self, Tuner, at};
use super::{TransferError, publish, samples};
use crate::calibration::fit_temperature_of_few;
use crate::onnx::numbers;
use crate::{Device, Predictor};

/// Into how many parts the classes are cut, to leave out one part after another.
const PARTS: usize = 5;
/// Fewer images that were kept out are too few to say where the threshold lies.
const FEW: usize = 200;
/// Into how many parts the images are cut then, to keep one part out after another.
const FOLDS: usize = 5;

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
    let reject = &config.reject.label;
    if folder.classes.contains(reject) {
        return Err(TransferError::Data(format!(
            "{reject:?} is a class's folder and the answer to what is none of the classes: give such images by --other, or have \
             another answer by `reject: {{label: …}}` in the configuration"
        )));
    }
    let predictor = Predictor::load(backbone, Device::Cpu)?;
    let preprocessor = Preprocessor::new(&backbone.manifest)?;
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
    let images = Images::new(folder, &features, config);
    let tuner = (config.fine_tuning.blocks > 0).then(|| tuner(job, &predictor, &preprocessor)).transpose()?;
    let mut fitting = Fitting {
        images: &images,
        folder: &folder.images,
        config,
        layer: 0,
        layers: 0,
        tuner,
        tuned_epochs: 0,
        on,
    };
    let (learned, measured, threshold) = fitting.all(job, other_features.as_ref())?;
    let checkpoint = fitting.tuner.map(|tuner| tuner.checkpoint);
    let found = Found { job, learned: &learned, measured: &measured, threshold };
    let (mut manifest, mut files) = publish::version(&found)?;
    let everything: Vec<usize> = (0..images.class.len()).collect();
    let kept_out = stratified(&everything, &images.class, config.held_out, config.seed).kept_out;
    let kept_out = at(&folder.images, &kept_out);
    let (samples, of_samples) = samples::choose(&manifest, &files, &preprocessor, &kept_out, job.samples)?;
    manifest.samples = samples;
    files.extend(of_samples);
    Ok(Trained { measured, manifest, files, checkpoint })
}

fn tuner<'a>(
    job: &Job<'a>,
    predictor: &'a Predictor,
    preprocessor: &'a Preprocessor,
) -> Result<Tuner<'a>, TransferError> {
    let Job { config, folder, backbone, .. } = *job;
    let blocks = config.fine_tuning.blocks;
    let tail = Tail::of(backbone, blocks)?;
    let configuration =
        serde_json::to_string(config).map_err(|error| TransferError::Configuration(error.into()))?;
    let identity = Identity {
        data: folder.sha256(),
        configuration,
        backbone: backbone.digest.clone(),
        folds: job.folds,
        leaves_out: job.others.is_none(),
    };
    let checkpoint = Checkpoint::open(job.run, identity, job.force)?;
    let source = Source { preprocessor, augmentation: &config.augmentation, seed: config.seed, blocks };
    let activations = Activations::new(source, predictor, job.threads, tail.shape);
    let images = folder.images.as_slice();
    Ok(Tuner { config, images, tail, activations, checkpoint, stage: 0, stages: 1 })
}

/// What was learned from some of the images.
pub(super) struct Learned {
    pub(super) layer: Layer,
    /// The last blocks and their own last layer, which is used then.
    pub(super) tuned: Option<Named>,
}

/// What is said of images that were not learned from.
struct Fold {
    accuracy: f64,
    /// Of the layer alone.
    accuracy_before: f64,
    top5: f64,
    /// `[n, classes]`.
    logits: Tensor,
    /// `[n]`.
    labels: Tensor,
}

/// One layer after another.
struct Fitting<'a> {
    images: &'a Images<'a>,
    folder: &'a [Labelled],
    config: &'a TransferConfig,
    layer: usize,
    layers: usize,
    tuner: Option<Tuner<'a>>,
    /// How long it tunes; 0 before that is known, and where it does no good.
    tuned_epochs: usize,
    on: &'a mut dyn FnMut(Event),
}

impl Fitting<'_> {
    fn all(
        &mut self,
        job: &Job<'_>,
        others: Option<&Features>,
    ) -> Result<(Learned, Measured, Threshold), TransferError> {
        let (images, config) = (self.images, self.config);
        let everything: Vec<usize> = (0..images.class.len()).collect();
        let split = stratified(&everything, &images.class, config.held_out, config.seed);
        if split.kept_out.is_empty() {
            return Err(TransferError::Data(
                "no class has two images: one to learn from and one to measure by is the least".into(),
            ));
        }
        let parts = if others.is_none() && images.classes > 2 { PARTS.min(images.classes) } else { 0 };
        // Where few images were kept out, each of the others is in its turn, so that more of them say where the threshold lies.
        let few = self.tuner.is_none() && job.folds.is_none() && split.kept_out.len() < FEW;
        self.layers = 3 + job.folds.unwrap_or(0) + parts + if few { FOLDS } else { 0 };

        // How long to learn is chosen by images that are not measured by.
        let inner = stratified(&split.learned, &images.class, config.held_out, config.seed.wrapping_add(1));
        let check = if inner.kept_out.is_empty() { &split } else { &inner };
        let checked = images.rows(&check.kept_out, false)?;
        let Fitted { layer, epochs } = self.fit(&inner.learned, config.head.epochs, Some(&checked))?;
        let parts = self.tune(&inner.learned, &layer, &check.kept_out, (parts, job.folds))?;

        let held_out = self.fold(&split, epochs)?;
        let of_folds = match job.folds.or(few.then_some(FOLDS)) {
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
        let temperature = fit_temperature_of_few(&numbers(&logits)?, images.classes, &places)?;
        let own = reject::scores(&logits, temperature)?;

        let learned = self.learn(&everything, epochs)?;
        let (strange, kind) = match (others, job.others) {
            (Some(features), Some(folder)) => {
                let images: Vec<&Labelled> = folder.images.iter().collect();
                let logits = self.logits(&learned, &images, || plain(features))?;
                (reject::scores(&logits, temperature)?, Others::Given)
            }
            _ if parts > 0 => (self.left_out(parts, epochs, temperature)?, Others::ClassesLeftOut),
            _ => (Vec::new(), Others::None),
        };
        let threshold = reject::choose(&own, &strange, config.reject.most)
            .ok_or_else(|| TransferError::Data("no image was kept out to measure by".into()))?;
        let measured = Measured {
            accuracy: held_out.accuracy,
            top5: held_out.top5,
            images: split.kept_out.len(),
            folds: of_folds.iter().filter(|_| !few).map(|fold| fold.accuracy).collect(),
            own_rejected: threshold.own_rejected,
            others_rejected: threshold.others_rejected,
            others: kind,
            epochs,
            temperature,
            fine_tuning: self.tuner.as_ref().map(|_| Tuning {
                blocks: config.fine_tuning.blocks,
                epochs: self.tuned_epochs,
                accuracy_before: held_out.accuracy_before,
            }),
        };
        Ok((learned, measured, threshold))
    }

    /// Chooses how long the last blocks learn, if they do, by images that are not measured by. How many parts of the classes are left out
    /// in turn: fine-tuning takes long, and one is to do.
    fn tune(
        &mut self,
        places: &[usize],
        layer: &Layer,
        check: &[usize],
        (parts, folds): (usize, Option<usize>),
    ) -> Result<usize, TransferError> {
        let Some(tuner) = &mut self.tuner else { return Ok(parts) };
        tuner.stages = 3 + folds.unwrap_or(0) + parts.min(1);
        let weights = self.images.weights(places);
        let from = tuning::Learned { places, weights: &weights, layer };
        self.tuned_epochs = tuner.epochs(&from, check, self.on)?;
        Ok(if self.tuned_epochs > 0 { parts.min(1) } else { parts })
    }

    /// Learns from the images at `places`.
    fn learn(&mut self, places: &[usize], epochs: usize) -> Result<Learned, TransferError> {
        let layer = self.fit(places, epochs, None)?.layer;
        let tuned = match &mut self.tuner {
            Some(tuner) if self.tuned_epochs > 0 => {
                let weights = self.images.weights(places);
                let from = tuning::Learned { places, weights: &weights, layer: &layer };
                Some(tuner.tuned(&from, self.tuned_epochs, self.on)?)
            }
            _ => None,
        };
        Ok(Learned { layer, tuned })
    }

    /// What is said of `images` as they are, whose features are `features`: `[n, classes]`.
    fn logits(
        &mut self,
        learned: &Learned,
        images: &[&Labelled],
        features: impl FnOnce() -> Result<Tensor, TchError>,
    ) -> Result<Tensor, TransferError> {
        match (&mut self.tuner, &learned.tuned) {
            (Some(tuner), Some(tuned)) => tuner.logits(tuned, images),
            _ => Ok(learned.layer.logits(&features()?)?),
        }
    }

    /// What is said of the one part by what has learned from the other.
    fn fold(&mut self, split: &Split, epochs: usize) -> Result<Fold, TransferError> {
        let learned = self.learn(&split.learned, epochs)?;
        let Rows { features, labels, .. } = self.images.rows(&split.kept_out, false)?;
        let before = learned.layer.logits(&features)?;
        let images = at(self.folder, &split.kept_out);
        let logits = self.logits(&learned, &images, || Ok(features))?;
        let top = |logits: &Tensor, k: i64| -> Result<f64, TchError> {
            let (_, named) = logits.f_topk(k.min(self.images.classes as i64), -1, true, true)?;
            let right = named.f_eq_tensor(&labels.f_unsqueeze(1)?)?.f_sum(Kind::Int64)?;
            Ok(right.f_double_value(&[])? / split.kept_out.len() as f64)
        };
        let (accuracy, top5, accuracy_before) = (top(&logits, 1)?, top(&logits, 5)?, top(&before, 1)?);
        Ok(Fold { accuracy, accuracy_before, top5, logits, labels })
    }

    /// The scores of images of classes that a layer has never seen, part after part.
    fn left_out(&mut self, parts: usize, epochs: usize, temperature: f64) -> Result<Vec<f64>, TransferError> {
        let images = self.images;
        let mut all = Vec::new();
        let parts_of_all = PARTS.min(images.classes);
        for part in 0..parts {
            let is_out = |place: &usize| images.class[*place] % parts_of_all == part;
            let (out, known): (Vec<usize>, Vec<usize>) = (0..images.class.len()).partition(is_out);
            let learned = self.learn(&known, epochs)?;
            // Of classes that it has never seen it says nothing, which is no low score but none.
            let known: Vec<i64> = (0..images.classes)
                .filter(|class| class % parts_of_all != part)
                .map(|class| class as i64)
                .collect();
            let features = || Ok(images.rows(&out, false)?.features);
            let logits = self.logits(&learned, &at(self.folder, &out), features)?;
            let logits = logits.f_index_select(1, &Tensor::f_from_slice(&known)?)?;
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
