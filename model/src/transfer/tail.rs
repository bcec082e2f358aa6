//! The end of a net that is fine-tuned: its last blocks and the new last layer, as variables that are moved.
//!
//! Batch normalisation keeps the statistics of the backbone's own training, which were taken over far more photographs than a folder has;
//! those of a batch of a few dozen would say what is in this batch. Its scale and shift are learned.

use std::collections::BTreeMap;

use registry::ModelVersion;
use tch::nn::VarStore;
use tch::{Device, Kind, TchError, Tensor};

use super::TransferError;
use super::head::Layer;
use crate::nets::Net;
use crate::weights;

/// Tensors by their names in the weights file, and the last layer's two.
pub(super) type Named = BTreeMap<String, Tensor>;

pub(super) const WEIGHT: &str = "classes.weight";
pub(super) const BIAS: &str = "classes.bias";

/// How much of the last step's direction is kept.
const MOMENTUM: f64 = 0.9;

/// One tensor that is moved by its gradient, with momentum. Not by Adam: its steps are of one size, and where a layer has hardly an error left
/// they go anywhere.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) value: Tensor,
    pub(super) velocity: Tensor,
    decay: f64,
}

impl Moved {
    /// A tensor before its first step, which moves it where it is.
    pub(super) fn of(value: Tensor, decay: f64) -> Result<Self, TchError> {
        let velocity = value.f_detach()?.f_zeros_like()?;
        Ok(Self { value, velocity, decay })
    }

    /// A step along the gradient that libtorch has of it, which is none then. Not recorded.
    pub(super) fn step(&mut self, rate: f64) -> Result<(), TchError> {
        let gradient = self.value.f_grad()?;
        drop(self.velocity.f_mul_scalar_(MOMENTUM)?.f_add_(&gradient)?);
        let change = self.velocity.f_mul_scalar(rate)?;
        drop(self.value.f_mul_scalar_(1.0 - rate * self.decay)?.f_sub_(&change)?);
        self.value.zero_grad();
        Ok(())
    }
}

/// The last blocks of a backbone, not fused.
pub(super) struct Tail {
    net: Box<dyn Net>,
    blocks: usize,
    /// What it takes: channels, rows and columns.
    pub(super) shape: [i64; 3],
    /// The variables of the last blocks, by which the net computes.
    variables: Named,
    /// What they are in the backbone.
    start: Named,
    /// Holds the others.
    _store: VarStore,
}

impl Tail {
    pub(super) fn of(backbone: &ModelVersion, blocks: usize) -> Result<Self, TransferError> {
        let (store, net) = weights::net(backbone, Device::Cpu)?;
        if blocks > net.blocks() {
            let (name, version) = (&backbone.manifest.name, backbone.manifest.version);
            return Err(TransferError::Data(format!(
                "fine_tuning.blocks is {blocks}, and {name} version {version} has {}: write fewer, or 0 for no fine-tuning",
                net.blocks()
            )));
        }
        let input = &backbone.manifest.input;
        let blank = Tensor::f_zeros(
            [1, input.channels.into(), input.size.into(), input.size.into()],
            (Kind::Float, Device::Cpu),
        )?;
        let maps = tch::no_grad(|| net.before(&blank, blocks))?;
        let (_, channels, rows, columns) = maps.size4()?;
        // What the gradient reaches is what the last blocks have.
        net.behind(&maps, blocks)?.f_sum(Kind::Float)?.f_backward()?;
        let variables: Named = store
            .variables()
            .into_iter()
            .filter(|(_, variable)| variable.requires_grad() && variable.grad().defined())
            .collect();
        let start = copies(&variables)?;
        Ok(Self { net, blocks, shape: [channels, rows, columns], variables, start, _store: store })
    }

    /// The variables as they are in the backbone and in `layer`, before the first step.
    pub(super) fn begin(
        &self,
        layer: &Layer,
        weight_decay: f64,
    ) -> Result<BTreeMap<String, Moved>, TchError> {
        self.set(&self.start)?;
        let mut all = BTreeMap::new();
        for (name, variable) in &self.variables {
            variable.shallow_clone().zero_grad();
            // Neither shifts nor scales are drawn to nothing.
            let decay = if variable.dim() > 1 { weight_decay } else { 0.0 };
            all.insert(name.clone(), Moved::of(variable.shallow_clone(), decay)?);
        }
        for (name, tensor, decay) in [(WEIGHT, &layer.weight, weight_decay), (BIAS, &layer.bias, 0.0)] {
            let own = copy(tensor)?.f_set_requires_grad(true)?;
            all.insert(name.to_owned(), Moved::of(own, decay)?);
        }
        Ok(all)
    }

    /// Has the net compute with `values`, those of the last layer passed over.
    pub(super) fn set(&self, values: &Named) -> Result<(), TchError> {
        tch::no_grad(|| {
            for (name, variable) in &self.variables {
                if let Some(value) = values.get(name) {
                    variable.shallow_clone().f_copy_(value)?;
                }
            }
            Ok(())
        })
    }

    /// What the net as it is, and a last layer of `weight` and `bias`, say of activations: `[n, classes]`.
    pub(super) fn logits(&self, maps: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, TchError> {
        self.net.behind(maps, self.blocks)?.f_linear(weight, Some(bias))
    }
}

pub(super) fn copy(tensor: &Tensor) -> Result<Tensor, TchError> {
    tch::no_grad(|| {
        let mut copy = tensor.f_detach()?.f_zeros_like()?;
        copy.f_copy_(tensor)?;
        Ok(copy)
    })
}

fn copies(of: &Named) -> Result<Named, TchError> {
    of.iter().map(|(name, tensor)| Ok((name.clone(), copy(tensor)?))).collect()
}
