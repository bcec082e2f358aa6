//! Fine-tuning: the last blocks of the backbone and the new last layer learn together, from views that are drawn anew for each epoch, by
//! stochastic gradient descent with momentum and a learning rate that falls along a cosine (<https://arxiv.org/abs/1608.03983>).
//!
//! A training has several stages: one says how many epochs, by images that it has not learned from; the others, so long, give what is
//! measured, and what is shipped.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, TchError, Tensor};

use super::activations::{Activations, PLAIN};
use super::checkpoint::Checkpoint;
use super::config::{FineTuning, TransferConfig};
use super::folder::Labelled;
use super::head::{Layer, WORTH};
use super::tail::{BIAS, Moved, Named, Tail, WEIGHT, copy};
use super::{Event, TransferError};

/// Images whose activations are computed before the steps with them: what is in memory at least.
const AHEAD: usize = 256;

/// The stages of one training.
pub(super) struct Tuner<'a> {
    pub(super) config: &'a TransferConfig,
    pub(super) images: &'a [Labelled],
    pub(super) tail: Tail,
    pub(super) activations: Activations<'a>,
    pub(super) checkpoint: Checkpoint,
    pub(super) stage: usize,
    pub(super) stages: usize,
}

/// What a stage learns from.
pub(super) struct Learned<'a> {
    /// Of the images.
    pub(super) places: &'a [usize],
    /// What each of them counts.
    pub(super) weights: &'a [f32],
    /// The last layer that knows them already.
    pub(super) layer: &'a Layer,
}

impl Tuner<'_> {
    /// After how many epochs the loss on the images at `check` is least; 0 where fine-tuning makes it no better.
    pub(super) fn epochs(
        &mut self,
        from: &Learned<'_>,
        check: &[usize],
        on: &mut dyn FnMut(Event),
    ) -> Result<usize, TransferError> {
        Ok(self.run(from, self.config.fine_tuning.epochs, Some(check), on)?.1)
    }

    /// What the last blocks and the last layer are after so many epochs.
    pub(super) fn tuned(
        &mut self,
        from: &Learned<'_>,
        epochs: usize,
        on: &mut dyn FnMut(Event),
    ) -> Result<Named, TransferError> {
        Ok(self.run(from, epochs, None, on)?.0)
    }

    /// What a net with these tensors says of the images as they are: `[n, classes]`.
    pub(super) fn logits(&mut self, tuned: &Named, images: &[&Labelled]) -> Result<Tensor, TransferError> {
        self.tail.set(tuned)?;
        let of = |name| tuned.get(name).ok_or_else(|| TchError::Torch(format!("{name} is missing")));
        let (weight, bias) = (of(WEIGHT)?, of(BIAS)?);
        let mut all = Vec::new();
        for images in images.chunks(self.config.fine_tuning.batch_size) {
            let maps = self.activations.of(images, PLAIN)?;
            all.push(tch::no_grad(|| self.tail.logits(&maps, weight, bias))?);
        }
        Ok(Tensor::f_cat(&all, 0)?)
    }

    /// One stage: its tensors, and the epoch after which they are so. With `check` it ends early, and the tensors are none.
    fn run(
        &mut self,
        from: &Learned<'_>,
        epochs: usize,
        check: Option<&[usize]>,
        on: &mut dyn FnMut(Event),
    ) -> Result<(Named, usize), TransferError> {
        self.stage += 1;
        if let Some(finished) = self.checkpoint.finished(self.stage) {
            return Ok(finished);
        }
        let config = &self.config.fine_tuning;
        let mut moved = self.tail.begin(from.layer, config.weight_decay)?;
        let (mut done, mut best) = (0, None);
        if self.checkpoint.restore(&moved)? {
            done = self.checkpoint.state.epoch;
            best = self.checkpoint.state.best.map(|(loss, epoch)| (f64::from_bits(loss), epoch));
        } else if let Some(check) = check {
            let (loss, accuracy) = self.measure(&moved, check)?;
            on(self.ended(0, epochs, None, Some((loss, accuracy))));
            best = Some((loss, 0));
        }
        for epoch in done + 1..=epochs {
            if best.is_some_and(|(_, best)| epoch > best + config.patience) {
                break;
            }
            let loss = self.epoch(from, (epoch, epochs), &mut moved, on)?;
            let measured = check.map(|check| self.measure(&moved, check)).transpose()?;
            if let (Some((loss, _)), Some((least, _))) = (measured, best)
                && loss < least * (1.0 - WORTH)
            {
                best = Some((loss, epoch));
            }
            self.checkpoint.keep(epoch, best, &moved)?;
            on(self.ended(epoch, epochs, Some(loss), measured));
        }
        let (tensors, epochs) = match best {
            Some((_, epoch)) => (Named::new(), epoch),
            None => (values(&moved)?, epochs),
        };
        self.checkpoint.finish(self.stage, &tensors, epochs)?;
        Ok((tensors, epochs))
    }

    fn ended(&self, epoch: usize, epochs: usize, loss: Option<f64>, check: Option<(f64, f64)>) -> Event {
        Event::Tuned { stage: self.stage, stages: self.stages, epoch, epochs, loss, check }
    }

    /// One pass over the images; the mean loss.
    fn epoch(
        &mut self,
        from: &Learned<'_>,
        (epoch, epochs): (usize, usize),
        moved: &mut BTreeMap<String, Moved>,
        on: &mut dyn FnMut(Event),
    ) -> Result<f64, TransferError> {
        let FineTuning { batch_size, learning_rate, epochs: all, .. } = self.config.fine_tuning;
        let mut order: Vec<usize> = (0..from.places.len()).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.config.seed);
        random.set_stream(epoch as u64);
        order.shuffle(&mut random);
        let steps = order.len().div_ceil(batch_size);
        let (mut sum, mut step) = (0.0, 0);
        for ahead in order.chunks(AHEAD.next_multiple_of(batch_size)) {
            let places: Vec<usize> = ahead.iter().map(|&number| from.places[number]).collect();
            let maps = self.activations.of(&at(self.images, &places), epoch as u64)?;
            for (first, batch) in (0..).step_by(batch_size).zip(ahead.chunks(batch_size)) {
                // As if all epochs were gone through, whichever is the last.
                let position = (epoch - 1) as f64 + step as f64 / steps as f64;
                let rate = learning_rate * 0.5 * (1.0 + (PI * position / all as f64).cos());
                let maps = maps.f_narrow(0, first, batch.len() as i64)?;
                let loss = self.step(from, batch, &maps, moved, rate)?;
                sum += loss * batch.len() as f64;
                step += 1;
                let images = order.len();
                let done = (epoch - 1) * images + (step * batch_size).min(images);
                let (stage, stages) = (self.stage, self.stages);
                on(Event::Tuning { stage, stages, done, images: epochs * images, loss });
            }
        }
        Ok(sum / order.len().max(1) as f64)
    }

    /// One step along the gradient of the loss on a batch.
    fn step(
        &self,
        from: &Learned<'_>,
        batch: &[usize],
        maps: &Tensor,
        moved: &mut BTreeMap<String, Moved>,
        rate: f64,
    ) -> Result<f64, TransferError> {
        let labels: Vec<i64> =
            batch.iter().map(|&number| self.images[from.places[number]].class as i64).collect();
        let weights: Vec<f32> = batch.iter().map(|&number| from.weights[number]).collect();
        let (labels, weights) = (Tensor::f_from_slice(&labels)?, Tensor::f_from_slice(&weights)?);
        let smoothing = self.config.head.label_smoothing;
        let logits = self.said(moved, maps)?;
        let each =
            logits.f_cross_entropy_loss::<Tensor>(&labels, None, tch::Reduction::None, -100, smoothing)?;
        let loss = each.f_mul(&weights)?.f_sum(Kind::Float)?.f_div(&weights.f_sum(Kind::Float)?)?;
        loss.f_backward()?;
        let value = loss.f_double_value(&[])?;
        if !value.is_finite() {
            return Err(TransferError::Data(
                "the loss is no number any more: lower fine_tuning.learning_rate".into(),
            ));
        }
        tch::no_grad(|| moved.values_mut().try_for_each(|moved| moved.step(rate)))?;
        Ok(value)
    }

    fn said(&self, moved: &BTreeMap<String, Moved>, maps: &Tensor) -> Result<Tensor, TransferError> {
        let of = |name| {
            let moved = moved.get(name).ok_or_else(|| TchError::Torch(format!("{name} is missing")))?;
            Ok::<_, TchError>(&moved.value)
        };
        Ok(self.tail.logits(maps, of(WEIGHT)?, of(BIAS)?)?)
    }

    /// Mean loss on images as they are, and the share that is named right.
    fn measure(
        &mut self,
        moved: &BTreeMap<String, Moved>,
        places: &[usize],
    ) -> Result<(f64, f64), TransferError> {
        let (mut loss, mut right) = (0.0, 0.0);
        for places in places.chunks(self.config.fine_tuning.batch_size) {
            let images = at(self.images, places);
            let maps = self.activations.of(&images, PLAIN)?;
            let labels: Vec<i64> = images.iter().map(|image| image.class as i64).collect();
            let labels = Tensor::f_from_slice(&labels)?;
            let logits = tch::no_grad(|| self.said(moved, &maps))?;
            let sum = logits.f_cross_entropy_loss::<Tensor>(&labels, None, tch::Reduction::Sum, -100, 0.0)?;
            loss += sum.f_double_value(&[])?;
            right +=
                logits.f_argmax(-1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Int64)?.f_double_value(&[])?;
        }
        let count = places.len().max(1) as f64;
        Ok((loss / count, right / count))
    }
}

pub(super) fn at<'a>(images: &'a [Labelled], places: &[usize]) -> Vec<&'a Labelled> {
    places.iter().filter_map(|&place| images.get(place)).collect()
}

fn values(moved: &BTreeMap<String, Moved>) -> Result<Named, TchError> {
    moved.iter().map(|(name, moved)| Ok((name.clone(), copy(&moved.value)?))).collect()
}
