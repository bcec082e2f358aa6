//! The images with their features, as rows that a last layer is fitted to.

use tch::{TchError, Tensor};

use super::config::{ClassWeights, TransferConfig};
use super::features::Features;
use super::folder::Folder;
use super::head::Rows;

/// The images with their features.
pub(super) struct Images<'a> {
    features: &'a Features,
    config: &'a TransferConfig,
    /// The class of each.
    pub(super) class: Vec<usize>,
    /// How many classes there are.
    pub(super) classes: usize,
}

impl<'a> Images<'a> {
    pub(super) fn new(folder: &Folder, features: &'a Features, config: &'a TransferConfig) -> Self {
        let class = folder.images.iter().map(|image| image.class).collect();
        Self { features, config, class, classes: folder.classes.len() }
    }

    /// All views of the images at `places`, or the plain one alone.
    pub(super) fn rows(&self, places: &[usize], all_views: bool) -> Result<Rows, TchError> {
        let Features { width, views, ref values } = *self.features;
        let taken = if all_views { views } else { 1 };
        let image = views * width;
        let mut rows: Vec<f32> = Vec::with_capacity(places.len() * taken * width);
        places.iter().for_each(|&place| rows.extend_from_slice(&values[place * image..][..taken * width]));
        let each = |place: &usize| std::iter::repeat_n(self.class[*place] as i64, taken);
        let labels: Vec<i64> = places.iter().flat_map(each).collect();
        let each = |weight: f32| std::iter::repeat_n(weight, taken);
        let weights: Vec<f32> = self.weights(places).into_iter().flat_map(each).collect();
        Ok(Rows {
            features: Tensor::f_from_slice(&rows)?.f_view([labels.len() as i64, width as i64])?,
            labels: Tensor::f_from_slice(&labels)?,
            weights: Tensor::f_from_slice(&weights)?,
        })
    }

    /// What each image at `places` counts, if these are all.
    pub(super) fn weights(&self, places: &[usize]) -> Vec<f32> {
        let mut count = vec![0_u32; self.classes];
        places.iter().for_each(|&place| count[self.class[place]] += 1);
        let weight = |place: &usize| match self.config.class_weights {
            ClassWeights::None => 1.0,
            ClassWeights::Balanced => {
                let count = f64::from(count[self.class[*place]].max(1));
                (places.len() as f64 / (self.classes as f64 * count)) as f32
            }
        };
        places.iter().map(weight).collect()
    }
}

/// The plain view of each image.
pub(super) fn plain(features: &Features) -> Result<Tensor, TchError> {
    let Features { width, views, ref values } = *features;
    let rows: Vec<f32> =
        values.chunks_exact(views * width).flat_map(|image| image[..width].to_vec()).collect();
    Tensor::f_from_slice(&rows)?.f_view([-1, width as i64])
}
