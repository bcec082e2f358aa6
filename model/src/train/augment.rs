//! From raw pixels to the batches of one epoch: shuffled, flipped, shifted, partly erased and normalised, all a function of the seed
//! and the epoch, the same in each release.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::config::{Augmentation, Normalize, TrainConfig};
use super::draw::Draw;
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
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let validation = order.split_off(images - validation);
    (order, validation)
}

/// Bytes to normalised floats.
pub fn normalize(images: &Tensor, by: &Normalize) -> Tensor {
    (images.to_kind(Kind::Float) - 255.0 * by.mean) * (1.0 / (255.0 * by.std))
}

/// How one epoch goes through the images, and through the pictures of none of the classes beside them.
#[derive(Debug)]
pub struct Epoch<'a> {
    config: &'a TrainConfig,
    order: Vec<usize>,
    others: Vec<usize>,
    seed: u64,
}

/// Streams of drawn numbers from here on are those of the pictures of none of the classes.
const OTHERS: usize = 1 << 32;

impl<'a> Epoch<'a> {
    /// Draws the order of `images` and of `others` for an epoch, counted from 1.
    #[must_use]
    pub fn draw(config: &'a TrainConfig, images: usize, others: usize, epoch: usize) -> Self {
        // The golden ratio's odd multiple keeps (1, 2) and (2, 1) apart.
        let seed = config.seed ^ (epoch as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut shuffled = |count: usize| {
            let mut order: Vec<usize> = (0..count).collect();
            order.shuffle(&mut random);
            order
        };
        Self { config, order: shuffled(images), others: shuffled(others), seed }
    }

    /// Steps in an epoch: what does not fill a batch is left for another epoch.
    #[must_use]
    pub fn steps(images: usize, batch_size: usize) -> usize {
        images / batch_size
    }

    /// Batch number `step`: images `[batch, 1, rows, columns]` normalised, labels `[batch]`. The last ones are `others`, if there are any,
    /// of which each step has so many as the configuration says.
    /// Some of the others are taken from `dressed`, the same images in other clothes, by chance, if there are any.
    pub fn batch(
        &self,
        [things, dressed, others]: [&Dataset; 3],
        step: usize,
        device: Device,
    ) -> (Tensor, Tensor) {
        let TrainConfig { batch_size, .. } = *self.config;
        let each = if others.is_empty() { 0 } else { self.config.outliers.per_batch };
        let size = things.rows * things.columns;
        let mut pixels = Vec::with_capacity((batch_size + each) * size);
        let mut labels = Vec::with_capacity(batch_size + each);
        let variants = self.config.finish.variants as f32;
        let mut add = |from: &Dataset, index: usize, stream: usize| {
            let shown_dressed = stream < OTHERS && !dressed.is_empty();
            let start = pixels.len();
            let mut draw = Draw::of(self.seed, stream);
            let from = if shown_dressed && draw.chance(variants) { dressed } else { from };
            pixels.extend_from_slice(&from.pixels[index * size..(index + 1) * size]);
            labels.push(i64::from(from.labels[index]));
            let change = Change::draw(&mut draw, self.config, things);
            change.apply(&mut pixels[start..], things.columns);
        };
        for place in step * batch_size..(step + 1) * batch_size {
            add(things, self.order[place], place + 1);
        }
        for place in step * each..(step + 1) * each {
            add(others, self.others[place % self.others.len()], OTHERS + place);
        }
        let shape = [labels.len() as i64, 1, things.rows as i64, things.columns as i64];
        let images = Tensor::from_slice(&pixels).view(shape).to_device(device);
        (normalize(&images, &self.config.normalize), Tensor::from_slice(&labels).to_device(device))
    }
}

/// What is done to an image.
#[derive(Debug, Default)]
struct Change {
    /// Left to right.
    flip: bool,
    /// By so many pixels to the right and down; black comes in.
    shift: (isize, isize),
    /// Nothing but noise there.
    erased: Option<Part>,
}

/// A rectangle of an image.
#[derive(Debug)]
struct Part {
    left: usize,
    top: usize,
    width: usize,
    /// Its rows one after another.
    noise: Vec<u8>,
}

/// The least and the greatest part of an image that is erased.
const ERASED: (f32, f32) = (0.02, 0.25);
/// The shorter side of what is erased is at least this share of the longer one.
const NARROWEST: f32 = 0.3;

impl Change {
    fn draw(draw: &mut Draw, config: &TrainConfig, of: &Dataset) -> Self {
        let Augmentation { shift, erase } = config.augmentation;
        let flip = config.horizontal_flip && draw.chance(0.5);
        let mut by = || if shift == 0 { 0 } else { draw.count(0, 2 * shift) as isize - shift as isize };
        let shift = (by(), by());
        let erased = (erase > 0.0 && draw.chance(erase as f32)).then(|| {
            let area = draw.between(ERASED.0, ERASED.1) * (of.rows * of.columns) as f32;
            let narrow = draw.between(NARROWEST, 1.0);
            let (shorter, longer) = ((area * narrow).sqrt(), (area / narrow).sqrt());
            let (width, height) = if draw.chance(0.5) { (shorter, longer) } else { (longer, shorter) };
            let within = |side: f32, most: usize| (side.round() as usize).clamp(1, most);
            let (width, height) = (within(width, of.columns), within(height, of.rows));
            let (left, top) = (draw.count(0, of.columns - width), draw.count(0, of.rows - height));
            let mut noise = vec![0; width * height];
            draw.bytes(&mut noise);
            Part { left, top, width, noise }
        });
        Self { flip, shift, erased }
    }

    fn apply(&self, image: &mut [u8], columns: usize) {
        if self.flip {
            image.chunks_exact_mut(columns).for_each(<[u8]>::reverse);
        }
        let (right, down) = self.shift;
        if (right, down) != (0, 0) {
            let before = image.to_vec();
            let rows = image.len() / columns;
            let from = |to: usize, by: isize, side: usize| to.checked_add_signed(-by).filter(|&at| at < side);
            for (at, pixel) in image.iter_mut().enumerate() {
                let source = from(at % columns, right, columns).zip(from(at / columns, down, rows));
                *pixel = source.map_or(0, |(column, row)| before[row * columns + column]);
            }
        }
        if let Some(Part { left, top, width, noise }) = &self.erased {
            for (row, noise) in noise.chunks_exact(*width).enumerate() {
                let start = (top + row) * columns + left;
                image[start..start + width].copy_from_slice(noise);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(rows: usize, columns: usize, pixels: Vec<u8>, labels: Vec<u8>) -> Dataset {
        Dataset { rows, columns, pixels, labels }
    }

    fn none() -> Dataset {
        data(1, 1, vec![], vec![])
    }

    fn bytes(images: &Tensor) -> Vec<u8> {
        Vec::try_from((images.view(-1) * 255.0).round().to_kind(Kind::Uint8)).unwrap()
    }

    fn plain() -> TrainConfig {
        let normalize = Normalize { mean: 0.0, std: 1.0 };
        TrainConfig { batch_size: 2, horizontal_flip: false, normalize, ..TrainConfig::default() }
    }

    #[test]
    fn the_split_is_seeded_and_leaves_nothing_out() {
        let (train, validation) = split(100, 20, 7);
        assert_eq!((train.len(), validation.len()), (80, 20));
        let mut all = [train.clone(), validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<i64>>());
        assert_eq!(split(100, 20, 7), (train, validation.clone()));
        assert_ne!(split(100, 20, 8).1, validation);
        // Whoever measures by the validation images years later must have the same.
        assert_eq!(split(100, 5, 7).1, [89, 18, 27, 98, 70]);
    }

    #[test]
    fn an_epoch_sees_each_image_once_and_flips_about_half() {
        let config = TrainConfig { batch_size: 10, horizontal_flip: true, ..plain() };
        let things = data(1, 2, [0, 255].repeat(1000), vec![0; 1000]);
        let epoch = Epoch::draw(&config, 1000, 0, 1);
        let mut seen = epoch.order.clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<usize>>());
        assert_ne!(epoch.order, Epoch::draw(&config, 1000, 0, 2).order);
        let flipped = |config: &TrainConfig| -> usize {
            let epoch = Epoch::draw(config, 1000, 0, 1);
            let batch = |step| bytes(&epoch.batch([&things, &none(), &none()], step, Device::Cpu).0);
            (0..100).flat_map(batch).step_by(2).filter(|&first| first == 255).count()
        };
        assert!((400..600).contains(&flipped(&config)));
        assert_eq!(flipped(&TrainConfig { horizontal_flip: false, ..config }), 0);
    }

    #[test]
    fn what_is_none_of_the_classes_comes_last_so_many_a_batch_and_all_in_turn() {
        let mut config = plain();
        config.outliers.per_batch = 3;
        let things = data(1, 1, (0..8).collect(), vec![4; 8]);
        let others = data(1, 1, (100..106).collect(), vec![10; 6]);
        let epoch = Epoch::draw(&config, 8, 6, 1);
        let mut seen = Vec::new();
        for step in 0..4 {
            let (images, labels) = epoch.batch([&things, &none(), &others], step, Device::Cpu);
            assert_eq!(Vec::<i64>::try_from(labels).unwrap(), [4, 4, 10, 10, 10]);
            assert!(bytes(&images)[..2].iter().all(|&pixel| pixel < 8));
            seen.extend_from_slice(&bytes(&images)[2..]);
        }
        seen.sort_unstable();
        assert_eq!(seen, [100, 101, 102, 103, 104, 105].map(|pixel| [pixel, pixel]).concat());
    }

    #[test]
    fn in_the_last_round_as_many_are_in_other_clothes_as_it_says() {
        let mut config = TrainConfig { batch_size: 10, ..plain() };
        config.finish.variants = 0.3;
        let [things, dressed] = [1, 2].map(|pixel| data(1, 1, vec![pixel; 1000], vec![4; 1000]));
        let epoch = Epoch::draw(&config, 1000, 0, 1);
        let batch = |step| bytes(&epoch.batch([&things, &dressed, &none()], step, Device::Cpu).0);
        let shown: usize = (0..100).flat_map(batch).filter(|&pixel| pixel == 2).count();
        assert!((250..350).contains(&shown), "{shown}");
    }

    #[test]
    fn a_flip_mirrors_a_shift_moves_and_what_is_erased_is_noise() {
        let mut image = [1, 2, 3, 4, 5, 6];
        Change { flip: true, ..Change::default() }.apply(&mut image, 3);
        assert_eq!(image, [3, 2, 1, 6, 5, 4]);
        Change { shift: (1, 0), ..Change::default() }.apply(&mut image, 3);
        assert_eq!(image, [0, 3, 2, 0, 6, 5]);
        Change { shift: (-2, 1), ..Change::default() }.apply(&mut image, 3);
        assert_eq!(image, [0, 0, 0, 2, 0, 0]);
        let erased = Some(Part { left: 1, top: 0, width: 2, noise: vec![7, 8, 9, 10] });
        Change { erased, ..Change::default() }.apply(&mut image, 3);
        assert_eq!(image, [0, 7, 8, 2, 9, 10]);
    }

    #[test]
    fn shifts_and_erasures_are_as_large_and_as_often_as_the_configuration_says() {
        let mut config = plain();
        config.augmentation = Augmentation { shift: 2, erase: 0.5 };
        let of = data(28, 28, vec![], vec![]);
        let changes: Vec<Change> =
            (0..1000).map(|place| Change::draw(&mut Draw::of(1, place), &config, &of)).collect();
        for by in -2..=2 {
            let there = |shift: fn(&Change) -> isize| changes.iter().filter(|c| shift(c) == by).count();
            assert!((150..250).contains(&there(|c| c.shift.0)) && (150..250).contains(&there(|c| c.shift.1)));
        }
        assert!(changes.iter().all(|change| change.shift.0.abs() <= 2 && change.shift.1.abs() <= 2));
        let erased: Vec<&Part> = changes.iter().filter_map(|change| change.erased.as_ref()).collect();
        assert!((450..550).contains(&erased.len()));
        for Part { left, top, width, noise } in erased {
            let share = noise.len() as f32 / 784.0;
            assert!((0.015..0.28).contains(&share), "{share}");
            assert!(left + width <= 28 && top + noise.len() / width <= 28);
        }
        let none = Change::draw(&mut Draw::of(1, 1), &plain(), &of);
        assert!(none.shift == (0, 0) && none.erased.is_none() && !none.flip);
    }
}
