//! From a net's outputs to its answer, as a version's manifest describes. The command line and the worker go through this one.

use registry::{Classes, Fit, Manifest};

use crate::{Pixels, Prediction, Scores};

/// Makes [`Scores`] of a net's outputs, and labels of those.
#[derive(Clone, Debug)]
pub struct Scorer {
    classes: Classes,
    /// Whether a black image is one in which there is nothing, see [`Scorer::scores`].
    knows_nothing: bool,
}

impl Scorer {
    /// For the version that `manifest` describes.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        Self::of(manifest.classes.clone(), manifest.input.fit)
    }

    /// For images that were made the net's input by `fit`.
    #[must_use]
    pub fn of(classes: Classes, fit: Fit) -> Self {
        let knows_nothing = fit == Fit::TrimAndPad && classes.reject.is_some();
        Self { classes, knows_nothing }
    }

    /// What the outputs mean.
    #[must_use]
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The probabilities for an image, of the net's outputs for it.
    ///
    /// Preprocessing by `trim-and-pad` leaves an image in which there is nothing black. If the manifest says what to answer when an
    /// image shows none of the classes, such an image has no probability for any of them.
    #[must_use]
    pub fn scores(&self, pixels: &Pixels, logits: Vec<f32>) -> Scores {
        let nothing = self.knows_nothing && pixels.data.iter().all(|&value| value == 0);
        if nothing { Scores::new(vec![0.0; logits.len()]) } else { Scores::calibrated(logits, &self.classes) }
    }

    /// The `k` most likely answers to an image, the likeliest first, of the net's outputs for it.
    #[must_use]
    pub fn top_k(&self, pixels: &Pixels, logits: Vec<f32>, k: usize) -> Vec<Prediction> {
        self.scores(pixels, logits).top_k(&self.classes, k)
    }
}

#[cfg(test)]
mod tests {
    use registry::{Activation, Class, Reject};

    use super::*;

    fn shoes(reject: Option<&str>) -> Classes {
        let labels = vec![Class { index: 0, label: "shoe".into() }];
        let reject = reject.map(|label| Reject { label: label.into(), threshold: 0.5 });
        Classes { outputs: 1, activation: Activation::Softmax, labels, reject, calibration: None }
    }

    fn first(fit: Fit, none: Option<&str>, value: u8) -> String {
        let pixels = Pixels { width: 2, height: 1, channels: 1, data: vec![0, value] };
        Scorer::of(shoes(none), fit).top_k(&pixels, vec![3.0], 1).remove(0).label
    }

    #[test]
    fn a_black_image_shows_nothing_where_that_is_what_preprocessing_and_manifest_mean_by_it() {
        assert_eq!(first(Fit::TrimAndPad, Some("nothing"), 0), "nothing");
        assert_eq!(first(Fit::TrimAndPad, Some("nothing"), 1), "shoe");
        assert_eq!(first(Fit::TrimAndPad, None, 0), "shoe");
        assert_eq!(first(Fit::Stretch, Some("not a shoe"), 0), "shoe");
    }
}
