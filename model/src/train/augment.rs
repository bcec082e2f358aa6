//! From raw pixels to the batches of one epoch: shuffled, flipped and normalised, all a function of the seed and the epoch.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tch::{Device, Kind, Tensor};

use super::config::Normalize;
use crate::dataset::Dataset;

/// Images and labels as two tensors on one device.
#[derive(Debug)]
pub struct Samples {
    /// `[N, 1, rows, columns]`, bytes.
    pub images: Tensor,
    /// `[N]`, class numbers.
    pub labels: Tensor,
}

impl Samples {
    /// The data set's images at `indices`.
    #[must_use]
    pub fn take(data: &Dataset, indices: &[i64], device: Device) -> Self {
        let shape = [data.len() as i64, 1, data.rows as i64, data.columns as i64];
        let indices = Tensor::from_slice(indices);
        let pick = |tensor: Tensor| tensor.index_select(0, &indices).to_device(device);
        Self {
            images: pick(Tensor::from_slice(&data.pixels).view(shape)),
            labels: pick(Tensor::from_slice(&data.labels).to_kind(Kind::Int64)),
        }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Splits `0..images` into those to train on and `validation` others, drawn by the seed.
#[must_use]
pub fn split(images: usize, validation: usize, seed: u64) -> (Vec<i64>, Vec<i64>) {
    let mut order: Vec<i64> = (0..images as i64).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    let validation = order.split_off(images - validation);
    (order, validation)
}

/// Bytes to normalised floats.
pub fn normalize(images: &Tensor, by: &Normalize) -> Tensor {
    (images.to_kind(Kind::Float) - 255.0 * by.mean) * (1.0 / (255.0 * by.std))
}

/// How one epoch goes through the images.
#[derive(Debug)]
pub struct Epoch {
    order: Vec<i64>,
    flips: Vec<bool>,
    batch_size: usize,
}

impl Epoch {
    /// Draws order and flips for an epoch, counted from 1.
    #[must_use]
    pub fn draw(images: usize, batch_size: usize, flip: bool, seed: u64, epoch: usize) -> Self {
        // The golden ratio's odd multiple keeps (1, 2) and (2, 1) apart.
        let mut rng = StdRng::seed_from_u64(seed ^ (epoch as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut order: Vec<i64> = (0..images as i64).collect();
        order.shuffle(&mut rng);
        let flips = order.iter().map(|_| flip && rng.random()).collect();
        Self { order, flips, batch_size }
    }

    /// Steps in an epoch: what does not fill a batch is left for another epoch.
    #[must_use]
    pub fn steps(images: usize, batch_size: usize) -> usize {
        images / batch_size
    }

    /// Batch number `step`: images `[batch, 1, rows, columns]` normalised, labels `[batch]`.
    pub fn batch(&self, samples: &Samples, step: usize, by: &Normalize) -> (Tensor, Tensor) {
        let range = step * self.batch_size..(step + 1) * self.batch_size;
        let device = samples.images.device();
        let indices = Tensor::from_slice(&self.order[range.clone()]).to_device(device);
        let flips = Tensor::from_slice(&self.flips[range]).to_device(device).view([-1, 1, 1, 1]);
        let images = samples.images.index_select(0, &indices);
        let images = images.flip([3]).where_self(&flips, &images);
        (normalize(&images, by), samples.labels.index_select(0, &indices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_seeded_and_leaves_nothing_out() {
        let (train, validation) = split(100, 20, 7);
        assert_eq!((train.len(), validation.len()), (80, 20));
        let mut all = [train.clone(), validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<i64>>());
        assert_eq!(split(100, 20, 7), (train, validation.clone()));
        assert_ne!(split(100, 20, 8).1, validation);
    }

    #[test]
    fn an_epoch_sees_each_image_once_and_flips_about_half() {
        let epoch = Epoch::draw(1000, 10, true, 1, 1);
        let mut seen = epoch.order.clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<i64>>());
        let flipped = epoch.flips.iter().filter(|flip| **flip).count();
        assert!((400..600).contains(&flipped), "{flipped}");
        assert_ne!(epoch.order, Epoch::draw(1000, 10, true, 1, 2).order);
        assert!(!Epoch::draw(1000, 10, false, 1, 1).flips.contains(&true));
    }

    #[test]
    fn a_flip_mirrors_the_image_and_leaves_its_label() {
        let data = Dataset { rows: 1, columns: 3, pixels: vec![0, 1, 2, 10, 11, 12], labels: vec![4, 5] };
        let samples = Samples::take(&data, &[0, 1], Device::Cpu);
        let epoch = Epoch { order: vec![1, 0], flips: vec![true, false], batch_size: 2 };
        let plain = Normalize { mean: 0.0, std: 1.0 / 255.0 };
        let (images, labels) = epoch.batch(&samples, 0, &plain);
        let values = Vec::<f32>::try_from(images.view(-1)).unwrap();
        assert_eq!(values, [12.0, 11.0, 10.0, 0.0, 1.0, 2.0]);
        assert_eq!(Vec::<i64>::try_from(labels).unwrap(), [5, 4]);
    }
}
