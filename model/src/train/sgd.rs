//! The optimizer: stochastic gradient descent with Nesterov's momentum, and a running average of the weights. Written out here
//! because tch gives no access to its own optimizer's momentum, which a checkpoint must hold.

use std::collections::BTreeMap;

use tch::{Tensor, nn};

use super::config::Optimizer;

/// Tensors by name, in the order of their names.
pub type Named = BTreeMap<String, Tensor>;

/// Stochastic gradient descent over one net's variables.
#[derive(Debug)]
pub struct Sgd {
    weights: Named,
    momentum: Named,
    settings: Optimizer,
}

/// All variables of a store by name, batch norm statistics included. They share memory with the store's.
#[must_use]
pub fn variables(store: &nn::VarStore) -> Named {
    store.variables().into_iter().collect()
}

impl Sgd {
    /// Starts with no momentum.
    #[must_use]
    pub fn new(store: &nn::VarStore, settings: Optimizer) -> Self {
        let weights: Named = variables(store).into_iter().filter(|(_, w)| w.requires_grad()).collect();
        let momentum = weights.iter().map(|(name, w)| (name.clone(), w.zeros_like().detach())).collect();
        Self { weights, momentum, settings }
    }

    /// The momentum of each trained variable.
    #[must_use]
    pub fn momentum(&self) -> &Named {
        &self.momentum
    }

    /// One step along the gradient of `loss`, as torch.optim.SGD with `nesterov=True` takes it.
    pub fn step(&mut self, loss: &Tensor, learning_rate: f64) {
        loss.backward();
        tch::no_grad(|| {
            for (weight, velocity) in self.weights.values_mut().zip(self.momentum.values_mut()) {
                let mut gradient = weight.grad();
                if weight.dim() > 1 && self.settings.weight_decay > 0.0 {
                    gradient += &*weight * self.settings.weight_decay;
                }
                *velocity *= self.settings.momentum;
                *velocity += &gradient;
                *weight -= (&gradient + &*velocity * self.settings.momentum) * learning_rate;
                weight.zero_grad();
            }
        });
    }
}

/// Moves the average a little towards the net's variables; `step` counts from 0, and early steps count for more.
pub fn average(average: &mut Named, net: &Named, decay: f64, step: usize) {
    let step = step as f64;
    let decay = decay.min((1.0 + step) / (10.0 + step));
    tch::no_grad(|| {
        for (mean, value) in average.values_mut().zip(net.values()) {
            *mean += (value - &*mean) * (1.0 - decay);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// tch's own optimizer is the reference.
    #[test]
    fn steps_as_libtorch_does() {
        let start = Tensor::from_slice2(&[[1.0_f32, -2.0], [0.5, 3.0]]);
        let input = Tensor::from_slice2(&[[0.3_f32, 0.7], [-1.2, 0.4], [0.9, 0.1]]);
        let loss = |w: &Tensor| input.matmul(w).tanh().sum(tch::Kind::Float);

        let ours = nn::VarStore::new(Device::Cpu);
        let w = ours.root().var_copy("w", &start);
        let mut sgd = Sgd::new(&ours, Optimizer { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01 });
        let theirs = nn::VarStore::new(Device::Cpu);
        let v = theirs.root().var_copy("w", &start);
        let config = nn::Sgd { momentum: 0.9, dampening: 0.0, wd: 0.01, nesterov: true };
        let mut reference = nn::OptimizerConfig::build(config, &theirs, 0.1).unwrap();
        for _ in 0..5 {
            sgd.step(&loss(&w), 0.1);
            reference.backward_step(&loss(&v));
        }
        assert!((&w - &v).abs().max().double_value(&[]) < 1e-6);
        assert!((&w - &start).abs().max().double_value(&[]) > 0.05, "nothing moved");
    }

    #[test]
    fn only_matrices_decay() {
        let store = nn::VarStore::new(Device::Cpu);
        let weight = store.root().ones("weight", &[2, 2]);
        let bias = store.root().ones("bias", &[2]);
        let mut sgd = Sgd::new(&store, Optimizer { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.5 });
        sgd.step(&((weight.sum(None) + bias.sum(None)) * 0.0), 0.1);
        assert!((weight.double_value(&[0, 0]) - 0.95).abs() < 1e-6);
        assert_eq!(bias.double_value(&[0]), 1.0);
    }
}
