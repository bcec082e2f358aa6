//! The loop: epochs of steps, each epoch ended by a validation and a checkpoint.

use std::time::Instant;

use tch::nn;
use tch::{Device, Kind, Reduction, Tensor};

use super::augment::{self, Epoch, Samples};
use super::checkpoint::{self, Checkpoint, State};
use super::config::TrainConfig;
use super::sgd::{self, Named, Sgd};
use super::{EpochReport, Event, Options, TrainError, TrainOutput, schedule};
use crate::dataset::Dataset;
use crate::nets::Net as _;
use crate::nets::fashion_cnn::{FashionCnn, SIZE, fashion_cnn};
use crate::nets::layers::channels_last;

struct Net {
    store: nn::VarStore,
    module: FashionCnn,
    variables: Named,
}

impl Net {
    fn new(config: &TrainConfig, device: Device) -> Result<Self, TrainError> {
        let store = nn::VarStore::new(device);
        let module = fashion_cnn(&store.root(), config.labels.len() as i64, config.dropout);
        let variables = sgd::variables(&store);
        for (_, weight) in variables.iter().filter(|(_, weight)| weight.dim() == 4) {
            // oneDNN's convolutions then need no reordering.
            weight.shallow_clone().set_data(&tch::no_grad(|| channels_last(weight))?);
        }
        Ok(Self { store, module, variables })
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
    let training = Samples::take(data, &training, options.device);
    let validation = Samples::take(data, &validation, options.device);

    tch::manual_seed(config.seed as i64);
    let net = Net::new(config, options.device)?;
    let mut sgd = Sgd::new(&net.store, config.optimizer.clone());
    // A second net of the same make holds the average, so that validation runs it as it is.
    let mut averaged = Net::new(config, options.device)?;
    let mut best = Named::new();
    let mut epochs: Vec<EpochReport> = Vec::new();
    if let Some(found) = previous(config, options)? {
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
    let total = steps * config.epochs;
    let until = options.stop_after.map_or(config.epochs, |n| config.epochs.min(epochs.len() + n));
    while epochs.len() < until {
        let started = Instant::now();
        let epoch = epochs.len() + 1;
        let done = steps * (epoch - 1);
        let draw = Epoch::draw(training.len(), config.batch_size, config.horizontal_flip, config.seed, epoch);
        // Dropout draws from libtorch's own generator.
        tch::manual_seed((config.seed as i64).wrapping_mul(1_000_003).wrapping_add(epoch as i64));
        let (mut loss_sum, mut right) = (0.0, 0.0);
        for step in 0..steps {
            let (images, labels) = draw.batch(&training, step, &config.normalize);
            let logits = net.module.forward_t(&images, true)?;
            let loss = logits.cross_entropy_loss::<Tensor>(
                &labels,
                None,
                Reduction::Mean,
                -100,
                config.label_smoothing,
            );
            let rate =
                schedule::learning_rate(done + step, total, config.optimizer.learning_rate, config.warm_up);
            sgd.step(&loss, rate);
            sgd::average(&mut averaged.variables, &net.variables, config.average_decay, done + step);
            loss_sum += loss.double_value(&[]);
            right += count_right(&logits, &labels);
            if !loss_sum.is_finite() {
                return Err(TrainError::Diverged { epoch, loss: loss_sum });
            }
            let seen = (step + 1) as f64;
            on(Event::Step {
                epoch,
                done: done + step + 1,
                total,
                loss: loss_sum / seen,
                accuracy: right / (seen * config.batch_size as f64),
            });
        }
        let validation_accuracy = validate(&averaged.module, &validation, config)?;
        let record = epochs.iter().map(|e| e.validation_accuracy).fold(f64::NEG_INFINITY, f64::max);
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
            accuracy: right / (steps * config.batch_size) as f64,
            validation_accuracy,
            best: is_best,
            seconds: started.elapsed().as_secs_f64(),
        };
        epochs.push(report.clone());
        write(config, options, &epochs, &net, &sgd, &averaged, &best)?;
        on(Event::Epoch(&report));
    }
    Ok(TrainOutput { finished: epochs.len() == config.epochs, epochs, best })
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
fn previous(config: &TrainConfig, options: &Options) -> Result<Option<Checkpoint>, TrainError> {
    let path = &options.checkpoint;
    if !path.is_file() || (options.force && !options.resume) {
        return Ok(None);
    }
    let found = Checkpoint::read(path)?;
    if options.resume {
        return if found.state.config == *config {
            Ok(Some(found))
        } else {
            Err(TrainError::OtherConfig { path: path.clone() })
        };
    }
    let (done, epochs) = (found.state.epochs.len(), found.state.config.epochs);
    if done < epochs {
        return Err(TrainError::Unfinished { path: path.clone(), done, epochs });
    }
    Ok(None)
}

fn write(
    config: &TrainConfig,
    options: &Options,
    epochs: &[EpochReport],
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
        state: State { config: config.clone(), epochs: epochs.to_vec() },
        net: copy(&net.variables),
        momentum: copy(sgd.momentum()),
        average: copy(&averaged.variables),
        best: copy(best),
    }
    .write(&options.checkpoint)
}

fn validate(module: &FashionCnn, samples: &Samples, config: &TrainConfig) -> Result<f64, TrainError> {
    let mut right = 0.0;
    for (images, labels) in samples.images.split(500, 0).iter().zip(samples.labels.split(500, 0)) {
        let images = augment::normalize(images, &config.normalize);
        let logits = tch::no_grad(|| module.forward_t(&images, false))?;
        right += count_right(&logits, &labels);
    }
    Ok(right / samples.len() as f64)
}

fn count_right(logits: &Tensor, labels: &Tensor) -> f64 {
    logits.argmax(-1, false).eq_tensor(labels).sum(Kind::Int64).double_value(&[])
}
