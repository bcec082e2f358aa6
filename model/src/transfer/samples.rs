//! The samples of a finished version: photographs that were kept out when it was measured, small ones that it names right by a clear margin,
//! so that no rounding of another engine or machine changes what they are called.

use std::collections::BTreeSet;
use std::path::Path;

use model_core::{ImageLimits, Preprocessor, Scorer, sample_name};
use registry::manifest::WEIGHTS_FILE;
use registry::{Content, EngineKind, Manifest, Sample};

use super::folder::{Labelled, read_again};
use super::{Files, TransferError};
use crate::{Device, Predictor};

/// The largest file that is taken, in bytes.
const LARGEST: u64 = 256 << 10;
/// No more images are tried.
const TRIED: usize = 100;
/// By how many times a label has to be likelier than any other, and than that it is none of them.
const CLEAR: f32 = 2.0;

/// Up to `most` of the images, of as many classes as there are, and their files by the names of the samples.
pub(super) fn choose(
    manifest: &Manifest,
    files: &Files,
    preprocessor: &Preprocessor,
    images: &[&Labelled],
    most: usize,
) -> Result<(Vec<Sample>, Files), TransferError> {
    let architecture = manifest.artifact(EngineKind::Libtorch).and_then(|artifact| artifact.architecture);
    let weights = files.iter().find(|(name, _)| name == WEIGHTS_FILE);
    let (Some(architecture), Some((_, weights))) = (architecture, weights) else {
        return Ok(Default::default());
    };
    let content = Content { path: WEIGHTS_FILE.into(), bytes: weights.clone() };
    let predictor = Predictor::from_weights(manifest, architecture, &content, Device::Cpu)?;
    let scorer = Scorer::new(manifest);
    let (mut samples, mut chosen) = (Vec::new(), Files::new());
    for image in one_of_each_first(images).into_iter().filter(|image| is_small(&image.path)).take(TRIED) {
        if samples.len() >= most {
            break;
        }
        // What was exchanged meanwhile is told elsewhere.
        let Ok(bytes) = read_again(image) else { continue };
        let Ok(pixels) = preprocessor.decode(&bytes, &ImageLimits::default()) else { continue };
        let outputs = predictor.logits(&[&pixels])?.into_iter().next().unwrap_or_default();
        let scores = scorer.scores(&pixels, outputs);
        let label = &manifest.classes.labels[image.class].label;
        if is_clear(scores.probabilities(), image.class) {
            let file = sample_name(samples.len() + 1, &image.path);
            samples.push(Sample { file: file.clone(), label: label.clone() });
            chosen.push((file, bytes));
        }
    }
    Ok((samples, chosen))
}

/// The images, the first of each class before the second of any.
fn one_of_each_first<'a>(images: &[&'a Labelled]) -> Vec<&'a Labelled> {
    let mut seen = BTreeSet::new();
    let (mut first, others): (Vec<_>, Vec<_>) = images.iter().partition(|image| seen.insert(image.class));
    first.extend(others);
    first
}

fn is_small(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.len() <= LARGEST)
}

/// Whether one output is by so much the likeliest, of all that there are.
fn is_clear(probabilities: &[f32], class: usize) -> bool {
    let own = probabilities.get(class).copied().unwrap_or_default();
    let others = probabilities.iter().enumerate().filter(|(place, _)| *place != class);
    own >= CLEAR * others.map(|(_, other)| *other).fold(0.0, f32::max) && own > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hardly_the_likeliest_is_no_sample() {
        for (probabilities, class, expected) in [
            (&[0.6, 0.3, 0.1][..], 0, true),
            (&[0.55, 0.3, 0.15], 0, false),
            (&[0.3, 0.6, 0.1], 0, false),
            (&[0.1, 0.2, 0.7], 2, true),
            (&[0.0, 0.0], 1, false),
            (&[f32::NAN, 0.1], 0, false),
            (&[0.5], 1, false),
        ] {
            assert_eq!(is_clear(probabilities, class), expected, "{probabilities:?}, {class}");
        }
    }

    #[test]
    fn each_class_has_its_turn_before_one_has_two() {
        let image = |path: &str, class| Labelled { path: path.into(), class, sha256: String::new() };
        let all = [image("a", 0), image("b", 0), image("c", 1), image("d", 3), image("e", 1)];
        let order = one_of_each_first(&all.iter().collect::<Vec<_>>());
        let order: Vec<_> = order.iter().map(|image| image.path.to_string_lossy()).collect();
        assert_eq!(order, ["a", "c", "d", "b", "e"]);
    }
}
