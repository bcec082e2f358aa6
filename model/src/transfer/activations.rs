//! What the blocks that stay as they are make of a view of an image: what the last blocks are fine-tuned on. A view is drawn by the image's
//! content and the epoch, so that all runs of a training see the same ones, and what fits into memory is computed once for all of them.

use std::collections::HashMap;

use model_core::{ImageLimits, Preprocessor, View};
use tch::{TchError, Tensor};

use super::TransferError;
use super::config::Augmentation;
use super::features::drawn_for;
use super::folder::{Labelled, read_again};
use crate::Predictor;
use crate::parallel::side_by_side;

/// Numbers that are kept: two gigabytes. Beyond that they are computed again each time.
const KEPT: usize = 1 << 29;

/// The view that an answer is made of.
pub(super) const PLAIN: u64 = 0;

/// What an image's activations depend on, but the net.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) preprocessor: &'a Preprocessor,
    pub(super) augmentation: &'a Augmentation,
    pub(super) seed: u64,
    /// How many blocks at the end are not gone through.
    pub(super) blocks: usize,
}

pub(super) struct Activations<'a> {
    source: Source<'a>,
    /// One for each thread.
    backbones: Vec<Predictor>,
    /// Channels, rows and columns of what comes out of the blocks that are gone through.
    shape: [i64; 3],
    kept: HashMap<(String, u64), Vec<f32>>,
    room: usize,
}

impl<'a> Activations<'a> {
    pub(super) fn new(source: Source<'a>, backbone: &Predictor, threads: usize, shape: [i64; 3]) -> Self {
        let backbones = (0..threads.max(1)).map(|_| backbone.share()).collect();
        Self { source, backbones, shape, kept: HashMap::new(), room: KEPT }
    }

    /// Those of one view of each of `images`: `[n, channels, rows, columns]`.
    pub(super) fn of(&mut self, images: &[&Labelled], view: u64) -> Result<Tensor, TransferError> {
        let mut rows: Vec<Vec<f32>> = vec![Vec::new(); images.len()];
        let missing: Vec<(usize, &Labelled)> = images
            .iter()
            .enumerate()
            .filter(|(_, image)| !self.kept.contains_key(&(image.sha256.clone(), view)))
            .map(|(place, image)| (place, *image))
            .collect();
        if !missing.is_empty() {
            // Each instance on a thread of its own.
            tch::set_num_threads(1);
            let source = self.source;
            let one = |backbone: &mut &mut Predictor, (_, image): &(usize, &Labelled)| {
                source.one(backbone, image, view)
            };
            let threads = self.backbones.len();
            let computed = side_by_side(&missing, self.backbones.iter_mut().collect(), one, |number, row| {
                rows[missing[number].0] = row?;
                Ok::<_, TransferError>(())
            });
            tch::set_num_threads(threads.try_into().unwrap_or(1));
            computed?;
        }
        let mut all = Vec::with_capacity(rows.len() * self.shape.iter().product::<i64>() as usize);
        for (image, row) in images.iter().zip(rows) {
            let key = (image.sha256.clone(), view);
            if row.is_empty() {
                all.extend_from_slice(self.kept.get(&key).map_or(&[][..], Vec::as_slice));
                continue;
            }
            all.extend_from_slice(&row);
            if row.len() <= self.room {
                self.room -= row.len();
                self.kept.insert(key, row);
            }
        }
        Ok(self.tensor(&all)?)
    }

    fn tensor(&self, values: &[f32]) -> Result<Tensor, TchError> {
        let [channels, rows, columns] = self.shape;
        Tensor::f_from_slice(values)?.f_view([-1, channels, rows, columns])
    }
}

impl Source<'_> {
    fn one(&self, backbone: &Predictor, image: &Labelled, view: u64) -> Result<Vec<f32>, TransferError> {
        let bytes = read_again(image)?;
        let view = if view == PLAIN {
            View::PLAIN
        } else {
            let mut random = drawn_for(image, self.seed);
            // The views of the frozen recipe are the first stream's.
            random.set_stream(view);
            self.augmentation.draw(&mut random)
        };
        let broken = |source| TransferError::Image { path: image.path.clone(), source };
        let pixels = self.preprocessor.views(&bytes, &ImageLimits::default(), &[view]).map_err(broken)?;
        Ok(backbone.activations(&pixels.iter().collect::<Vec<_>>(), self.blocks)?.concat())
    }
}
