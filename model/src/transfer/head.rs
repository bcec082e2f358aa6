//! The new last layer: softmax regression on features, by Adam (<https://arxiv.org/abs/1412.6980>) with decoupled weight decay
//! (<https://arxiv.org/abs/1711.05101>). Its gradient is short enough to be written down.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, TchError, Tensor};

use super::config::Head;

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
/// A loss that has fallen by less, as a share, has not fallen.
pub(super) const WORTH: f64 = 0.005;

/// Features, and the class of each row.
#[derive(Debug)]
pub(super) struct Rows {
    /// `[n, width]`.
    pub(super) features: Tensor,
    /// `[n]`, class numbers.
    pub(super) labels: Tensor,
    /// `[n]`, what a row counts.
    pub(super) weights: Tensor,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }
}

/// A last layer: logits are `features * weight' + bias`.
#[derive(Debug)]
pub(super) struct Layer {
    /// `[classes, width]`.
    pub(super) weight: Tensor,
    /// `[classes]`.
    pub(super) bias: Tensor,
}

/// How an epoch went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch {
    /// Counted from 1.
    pub(super) epoch: usize,
    /// Mean training loss.
    pub(super) loss: f64,
    /// Share of the checked rows that were named right.
    pub(super) accuracy: Option<f64>,
}

/// A fitted layer, and after how many epochs.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) layer: Layer,
    pub(super) epochs: usize,
}

impl Layer {
    /// `[n, classes]`.
    pub(super) fn logits(&self, features: &Tensor) -> Result<Tensor, TchError> {
        features.f_linear(&self.weight, Some(&self.bias))
    }

    fn copy(&self) -> Result<Self, TchError> {
        let copy = |tensor: &Tensor| {
            let mut copy = tensor.f_zeros_like()?;
            copy.f_copy_(tensor)?;
            Ok::<_, TchError>(copy)
        };
        Ok(Self { weight: copy(&self.weight)?, bias: copy(&self.bias)? })
    }
}

/// The mean of the features, each row as often as it counts, and one number for their scale: gradients are then of one size whatever the
/// backbone is. One number for all, since features that seldom differ say the least.
struct Scale {
    mean: Tensor,
    factor: f64,
}

impl Scale {
    fn of(Rows { features, weights, .. }: &Rows) -> Result<Self, TchError> {
        let shares = weights.f_div(&weights.f_sum(Kind::Float)?)?;
        let mean = features.f_tr()?.f_mv(&shares)?;
        let centred = features.f_sub(&mean)?;
        let squares = centred.f_mul(&centred)?.f_mean_dim(&[1_i64][..], false, Kind::Double)?;
        let spread =
            squares.f_mul(&shares.f_to_kind(Kind::Double)?)?.f_sum(Kind::Double)?.f_double_value(&[])?.sqrt();
        Ok(Self { mean, factor: 1.0 / spread.max(1e-6) })
    }

    fn scaled(&self, features: &Tensor) -> Result<Tensor, TchError> {
        features.f_sub(&self.mean)?.f_mul_scalar(self.factor)
    }

    /// The layer that does to features as they are what `layer` does to scaled ones.
    fn folded(&self, layer: &Layer) -> Result<Layer, TchError> {
        let weight = layer.weight.f_mul_scalar(self.factor)?;
        let bias = layer.bias.f_sub(&weight.f_mv(&self.mean)?)?;
        Ok(Layer { weight, bias })
    }
}

/// One tensor that Adam moves.
#[derive(Debug)]
struct Moved {
    value: Tensor,
    /// Of the gradients.
    mean: Tensor,
    /// Of their squares.
    square: Tensor,
    decay: f64,
}

impl Moved {
    /// A tensor before its first step, which moves it where it is.
    fn of(value: Tensor, decay: f64) -> Result<Self, TchError> {
        let shape = value.size();
        let zeros = || Tensor::f_zeros(&shape, (Kind::Float, Device::Cpu));
        Ok(Self { mean: zeros()?, square: zeros()?, value, decay })
    }

    fn new(shape: &[i64], decay: f64) -> Result<Self, TchError> {
        Self::of(Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?, decay)
    }

    /// Step number `step`, counted from 1.
    fn step(&mut self, gradient: &Tensor, rate: f64, step: i32) -> Result<(), TchError> {
        let [first, second] = BETAS;
        // In place: the weights are the most of what is moved.
        drop(self.mean.f_lerp_(gradient, 1.0 - first)?);
        drop(self.square.f_mul_scalar_(second)?);
        let part = gradient.f_mul_scalar((1.0 - second).sqrt())?;
        drop(self.square.f_addcmul_(&part, &part)?);
        let mut scale = self.square.f_sqrt()?;
        drop(scale.f_mul_scalar_((1.0 - second.powi(step)).sqrt().recip())?.f_add_scalar_(EPSILON)?);
        let mut change = self.mean.f_div(&scale)?;
        drop(change.f_mul_scalar_(rate / (1.0 - first.powi(step)))?);
        drop(self.value.f_mul_scalar_(1.0 - rate * self.decay)?.f_sub_(&change)?);
        Ok(())
    }
}

/// Fits a layer for `classes` classes. With `check` it ends where the loss on those rows has not fallen for [`Head::patience`] epochs,
/// and gives the layer of the best; without, after `epochs`. `on` hears each epoch.
pub(super) fn fit(
    rows: &Rows,
    classes: usize,
    head: &Head,
    seed: u64,
    epochs: usize,
    check: Option<&Rows>,
    on: &mut dyn FnMut(Epoch),
) -> Result<Fitted, TchError> {
    let scale = Scale::of(rows)?;
    let features = scale.scaled(&rows.features)?;
    let one_hot = rows.labels.f_one_hot(classes as i64)?.f_to_kind(Kind::Float)?;
    let smooth = head.label_smoothing;
    let targets = one_hot.f_mul_scalar(1.0 - smooth)?.f_add_scalar(smooth / classes as f64)?;
    let width = features.size()[1];
    let mut weight = Moved::new(&[classes as i64, width], head.weight_decay)?;
    // From how often each class is met. Adam's steps are of one size: of three images beside three hundred the bias would learn that last,
    // and the weights something wrong in its place.
    let met = one_hot.f_mul(&rows.weights.f_unsqueeze(1)?)?.f_mean_dim(&[0_i64][..], false, Kind::Float)?;
    let mut bias = Moved::of(met.f_clamp_min(1e-4)?.f_log()?, 0.0)?;
    let mut order: Vec<i64> = (0..rows.len() as i64).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut best: Option<(f64, Fitted)> = None;
    let mut step = 0;
    for epoch in 1..=epochs {
        order.shuffle(&mut random);
        let mut loss = 0.0;
        for batch in order.chunks(head.batch_size) {
            step += 1;
            let batch = Tensor::f_from_slice(batch)?;
            let features = features.f_index_select(0, &batch)?;
            let targets = targets.f_index_select(0, &batch)?;
            let counts = rows.weights.f_index_select(0, &batch)?.f_unsqueeze(1)?;
            let logits = features.f_linear(&weight.value, Some(&bias.value))?;
            let logs = logits.f_log_softmax(1, Kind::Float)?;
            loss -= logs.f_mul(&targets)?.f_mul(&counts)?.f_sum(Kind::Double)?.f_double_value(&[])?;
            let share = 1.0 / counts.f_sum(Kind::Double)?.f_double_value(&[])?.max(1e-12);
            let slope = logs.f_exp()?.f_sub(&targets)?.f_mul(&counts)?.f_mul_scalar(share)?;
            weight.step(&slope.f_tr()?.f_matmul(&features)?, head.learning_rate, step)?;
            bias.step(&slope.f_sum_dim_intlist(&[0_i64][..], false, Kind::Float)?, head.learning_rate, step)?;
        }
        let layer = Layer { weight: weight.value.shallow_clone(), bias: bias.value.shallow_clone() };
        let measured = match check {
            Some(check) => Some(measure(&scale.folded(&layer)?, check)?),
            None => None,
        };
        on(Epoch { epoch, loss: loss / rows.len() as f64, accuracy: measured.map(|(_, accuracy)| accuracy) });
        let Some((loss, _)) = measured else {
            if epoch == epochs {
                best = Some((0.0, Fitted { layer: layer.copy()?, epochs }));
            }
            continue;
        };
        let record = best.as_ref().map_or(f64::INFINITY, |(record, _)| *record);
        if loss < record * (1.0 - WORTH) {
            best = Some((loss, Fitted { layer: layer.copy()?, epochs: epoch }));
        } else if best.as_ref().is_some_and(|(_, fitted)| epoch >= fitted.epochs + head.patience) {
            break;
        }
    }
    let (_, fitted) =
        best.ok_or_else(|| TchError::Kind("the loss is no number: lower head.learning_rate".into()))?;
    Ok(Fitted { layer: scale.folded(&fitted.layer)?, ..fitted })
}

/// Mean loss, and the share that is named right.
fn measure(layer: &Layer, rows: &Rows) -> Result<(f64, f64), TchError> {
    let logits = layer.logits(&rows.features)?;
    let loss = logits.f_cross_entropy_loss::<Tensor>(&rows.labels, None, tch::Reduction::Mean, -100, 0.0)?;
    let right = logits.f_argmax(-1, false)?.f_eq_tensor(&rows.labels)?.f_sum(Kind::Int64)?;
    Ok((loss.f_double_value(&[])?, right.f_double_value(&[])? / rows.len().max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `counts` rows of each class: noise around a place of the class's own.
    fn rows(counts: [usize; 2], balanced: bool, seed: i64) -> Rows {
        const WIDTH: i64 = 512;
        tch::manual_seed(seed);
        let all: usize = counts.iter().sum();
        let labels: Vec<i64> = (0..).zip(counts).flat_map(|(class, n)| vec![class; n]).collect();
        let labels = Tensor::from_slice(&labels);
        let noise = Tensor::rand([all as i64, WIDTH], tch::kind::FLOAT_CPU);
        let places = Tensor::zeros([2, WIDTH], tch::kind::FLOAT_CPU);
        drop(places.narrow(0, 0, 1).narrow(1, 0, 40).fill_(0.7));
        let weight = |n: usize| if balanced { all as f32 / (2 * n) as f32 } else { 1.0 };
        let weights: Vec<f32> = counts.iter().flat_map(|&n| vec![weight(n); n]).collect();
        let features = noise + places.index_select(0, &labels);
        Rows { features, labels, weights: Tensor::from_slice(&weights) }
    }

    #[test]
    fn three_of_one_class_beside_three_hundred_of_another_are_told() {
        for balanced in [false, true] {
            let (learned, others) = (rows([3, 300], balanced, 1), rows([100, 100], false, 2));
            let epochs = 10;
            let fitted = fit(&learned, 2, &Head::default(), 1, epochs, None, &mut |_| {}).unwrap();
            let named = fitted.layer.logits(&others.features).unwrap().argmax(-1, false);
            let share = |class: i64| {
                let right = named.eq_tensor(&others.labels).narrow(0, 100 * class, 100);
                right.to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
            };
            assert!(share(1) > 0.97, "balanced {balanced}: {} of the many", share(1));
            let named = fitted.layer.logits(&learned.features).unwrap().argmax(-1, false);
            assert_eq!(named, learned.labels, "balanced {balanced}");
        }
    }
}
