//! The loop: epochs of steps, each epoch ended by a validation and a checkpoint.

use std::time::Instant;

use model_core::Preprocessor;
use registry::{Architecture, Data};
use tch::nn;
use tch::{Device, Kind, Reduction, Tensor};

use super::augment::{self, Epoch, Samples};
use super::checkpoint::{self, Checkpoint, State};
use super::config::TrainConfig;
use super::fingerprint::fingerprint;
use super::sgd::{self, Named, Sgd};
use super::{EpochReport, Event, Options, TrainError, TrainOutput, clothes, outliers, publish, schedule};
use crate::dataset::Dataset;
use crate::nets::fashion_cnn::{FashionCnn, SIZE, fashion_cnn};
use crate::nets::layers::channels_last;
use crate::nets::{self, Net as _};

/// The net that is trained.
pub(super) struct Net {
    store: nn::VarStore,
    module: FashionCnn,
    pub(super) variables: Named,
}

impl Net {
    pub(super) fn new(config: &TrainConfig, device: Device) -> Result<Self, TrainError> {
        let store = nn::VarStore::new(device);
        let module = fashion_cnn(&store.root(), config.outputs() as i64, config.dropout);
        let variables = sgd::variables(&store);
        for (_, weight) in variables.iter().filter(|(_, weight)| weight.dim() == 4) {
            // oneDNN's convolutions then need no reordering.
            weight.shallow_clone().set_data(&tch::no_grad(|| channels_last(weight))?);
        }
        Ok(Self { store, module, variables })
    }

    /// The outputs for images as they are, `[N, outputs]`, and their labels.
    pub(super) fn logits(
        &self,
        data: &Dataset,
        config: &TrainConfig,
    ) -> Result<(Tensor, Tensor), TrainError> {
        let all: Vec<i64> = (0..data.len() as i64).collect();
        let samples = Samples::take(data, &all, self.store.device());
        Ok((logits(&self.module, &samples, config)?, samples.labels))
    }

    /// Adds to what the last output gives whatever the image is.
    pub(super) fn raise_last(&mut self, by: f64) -> Result<(), TrainError> {
        let bias = nets::output_bias(Architecture::FashionCnn)?;
        if let Some(bias) = self.variables.get(bias) {
            tch::no_grad(|| bias.f_select(0, -1)?.f_add_scalar_(by).map(drop))?;
        }
        Ok(())
    }
}

/// Trains the Fashion-MNIST net on images of 28 x 28.
///
/// # Errors
/// Unusable data, a loss that is no number, an unusable checkpoint, a full disk.
pub fn train(
    config: &TrainConfig,
    data: &Dataset,
    options: &Options,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<TrainOutput, TrainError> {
    check(config, data)?;
    let (training, validation) = augment::split(data.len(), config.validation_images, config.seed);
    let validation = Samples::take(data, &validation, options.device);
    let training = data.select(training.into_iter().map(|place| place as usize));
    let fingerprint = fingerprint(data);
    // What needs no work is said first.
    let previous = previous(config, &fingerprint, options)?;
    let preprocessor = Preprocessor::new(&publish::manifest(config))?;
    let others = outliers(config, &training, &preprocessor)?;
    // Made when they are needed.
    let (undressed, mut dressed) = (training.select([]), training.select([]));

    tch::manual_seed(config.seed as i64);
    let net = Net::new(config, options.device)?;
    let mut sgd = Sgd::new(&net.store, config.optimizer.clone());
    // A second net of the same make holds the average, so that validation runs it as it is.
    let mut averaged = Net::new(config, options.device)?;
    let mut best = Named::new();
    let mut epochs: Vec<EpochReport> = Vec::new();
    if let Some(found) = previous {
        let path = &options.checkpoint;
        checkpoint::restore(path, &net.variables, &found.net)?;
        checkpoint::restore(path, sgd.momentum(), &found.momentum)?;
        checkpoint::restore(path, &averaged.variables, &found.average)?;
        best = found.best;
        epochs = found.state.epochs;
    } else {
        checkpoint::restore(&options.checkpoint, &averaged.variables, &net.variables)?;
    }

    let steps = Epoch::steps(training.len(), config.batch_size);
    let total = steps * config.all_epochs();
    let until = options.stop_after.map_or(usize::MAX, |n| epochs.len() + n).min(config.all_epochs());
    while epochs.len() < until {
        let started = Instant::now();
        let epoch = epochs.len() + 1;
        let done = steps * (epoch - 1);
        let finishing = epoch > config.epochs;
        if finishing && dressed.is_empty() {
            dressed = clothes::dress(&training, config.seed, &preprocessor)?;
        }
        let shown = [&training, if finishing { &dressed } else { &undressed }, &others];
        let draw = Epoch::draw(config, training.len(), others.len(), epoch);
        // Dropout draws from libtorch's own generator.
        tch::manual_seed((config.seed as i64).wrapping_mul(1_000_003).wrapping_add(epoch as i64));
        let (mut loss_sum, mut right, mut seen) = (0.0, 0.0, 0);
        for step in 0..steps {
            let (images, labels) = draw.batch(shown, step, options.device);
            let logits = net.module.forward_t(&images, true)?;
            let loss = logits.cross_entropy_loss::<Tensor>(
                &labels,
                None,
                Reduction::Mean,
                -100,
                config.label_smoothing,
            );
            let rate = learning_rate(config, steps, done + step);
            sgd.step(&loss, rate);
            sgd::average(&mut averaged.variables, &net.variables, config.average_decay, done + step);
            loss_sum += loss.double_value(&[]);
            right += count_right(&logits, &labels);
            seen += labels.numel();
            if !loss_sum.is_finite() {
                return Err(TrainError::Diverged { epoch, loss: loss_sum });
            }
            on(Event::Step {
                epoch,
                done: done + step + 1,
                total,
                loss: loss_sum / (step + 1) as f64,
                accuracy: right / seen as f64,
            });
        }
        let validation_accuracy = validate(&averaged.module, &validation, config)?;
        // The last round is another one: what was best before it has not seen what it shows.
        let rivals = if finishing { &epochs[config.epochs..] } else { &epochs[..] };
        let record = rivals.iter().map(|e| e.validation_accuracy).fold(f64::NEG_INFINITY, f64::max);
        let is_best = validation_accuracy >= record;
        if is_best {
            best = averaged
                .variables
                .iter()
                .map(|(name, value)| (name.clone(), value.detach().copy()))
                .collect();
        }
        let report = EpochReport {
            epoch,
            loss: loss_sum / steps as f64,
            accuracy: right / seen as f64,
            validation_accuracy,
            best: is_best,
            seconds: started.elapsed().as_secs_f64(),
        };
        epochs.push(report.clone());
        let state = State { config: config.clone(), data: fingerprint.clone(), epochs: epochs.clone() };
        write(options, state, &net, &sgd, &averaged, &best)?;
        on(Event::Epoch(&report));
    }
    Ok(TrainOutput { finished: epochs.len() == config.all_epochs(), epochs, best })
}

/// The rate at a step of the run, each epoch of which has so many.
fn learning_rate(config: &TrainConfig, steps: usize, step: usize) -> f64 {
    let first = steps * config.epochs;
    if step < first {
        schedule::learning_rate(step, first, config.optimizer.learning_rate, config.warm_up)
    } else {
        let finish = &config.finish;
        schedule::learning_rate(step - first, steps * finish.epochs, finish.learning_rate, config.warm_up)
    }
}

/// The pictures of none of the classes, which come after all classes.
fn outliers(
    config: &TrainConfig,
    things: &Dataset,
    preprocessor: &Preprocessor,
) -> Result<Dataset, TrainError> {
    let count = config.outliers.images;
    let pixels = outliers::make(count, config.seed, things, preprocessor)?;
    Ok(Dataset { pixels, labels: vec![config.labels.len() as u8; count], ..*things })
}

fn check(config: &TrainConfig, data: &Dataset) -> Result<(), TrainError> {
    let refuse = |reason: String| Err(TrainError::Data(reason));
    if (data.rows, data.columns) != (SIZE as usize, SIZE as usize) {
        return refuse(format!(
            "they are {} x {}, and the net takes {SIZE} x {SIZE}",
            data.columns, data.rows
        ));
    }
    let classes = config.labels.len();
    if let Some(label) = data.labels.iter().find(|label| usize::from(**label) >= classes) {
        return refuse(format!("there is a label {label}, and the classes are 0 to {}", classes - 1));
    }
    if data.len() < config.validation_images + config.batch_size {
        return refuse(format!(
            "there are {}, too few for {} validation images and one batch of {}",
            data.len(),
            config.validation_images,
            config.batch_size
        ));
    }
    Ok(())
}

/// The checkpoint to go on from, if that is wanted.
fn previous(
    config: &TrainConfig,
    data: &[Data],
    options: &Options,
) -> Result<Option<Checkpoint>, TrainError> {
    let path = &options.checkpoint;
    if !path.is_file() || (options.force && !options.resume) {
        return Ok(None);
    }
    let found = Checkpoint::read(path)?;
    if options.resume {
        return if found.state.config != *config {
            Err(TrainError::OtherConfig { path: path.clone() })
        } else if found.state.data != data {
            Err(TrainError::OtherData { path: path.clone() })
        } else {
            Ok(Some(found))
        };
    }
    let (done, epochs) = (found.state.epochs.len(), found.state.config.all_epochs());
    if done < epochs {
        return Err(TrainError::Unfinished { path: path.clone(), done, epochs });
    }
    Ok(None)
}

fn write(
    options: &Options,
    state: State,
    net: &Net,
    sgd: &Sgd,
    averaged: &Net,
    best: &Named,
) -> Result<(), TrainError> {
    if let Some(folder) = options.checkpoint.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| TrainError::Write { path: folder.to_owned(), source })?;
    }
    let copy = |from: &Named| from.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
    Checkpoint {
        state,
        net: copy(&net.variables),
        momentum: copy(sgd.momentum()),
        average: copy(&averaged.variables),
        best: copy(best),
    }
    .write(&options.checkpoint)
}

fn validate(module: &FashionCnn, samples: &Samples, config: &TrainConfig) -> Result<f64, TrainError> {
    Ok(count_right(&logits(module, samples, config)?, &samples.labels) / samples.len() as f64)
}

fn logits(module: &FashionCnn, samples: &Samples, config: &TrainConfig) -> Result<Tensor, TrainError> {
    let some = |images: &Tensor| {
        let images = augment::normalize(images, &config.normalize);
        tch::no_grad(|| module.forward_t(&images, false))
    };
    let parts: Vec<Tensor> = samples.images.f_split(500, 0)?.iter().map(some).collect::<Result<_, _>>()?;
    Ok(Tensor::f_cat(&parts, 0)?)
}

fn count_right(logits: &Tensor, labels: &Tensor) -> f64 {
    logits.argmax(-1, false).eq_tensor(labels).sum(Kind::Int64).double_value(&[])
}
