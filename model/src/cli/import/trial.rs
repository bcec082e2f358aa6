//! The trial of a net on sample images: whether it answers at all, alone as in company, and what its answers look like.

use std::fmt;
use std::path::{Path, PathBuf};

use model_core::{ImageLimits, Pixels, Prediction, Preprocessor, Scorer};
use registry::{Activation, Manifest};
use serde::Serialize;

use super::net::Net;
use crate::cli::predict::{Named, files, read, words};
use crate::cli::publish::Refusal;

/// How many answers are shown of each image.
const SHOWN: usize = 5;
/// No more images are tried.
const MOST: usize = 32;
/// How far an output may be from the one that the image has alone, and as a share of that.
const TOLERANCE: f32 = 1e-3;

/// An image, and what the net says of it.
#[derive(Serialize)]
pub(super) struct Tried {
    file: String,
    predictions: Vec<Named>,
    #[serde(skip)]
    words: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.words)
    }
}

/// The files of the sample images, read.
pub(super) fn samples(path: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Refusal> {
    let mut samples = Vec::new();
    for (file, usable) in files(path).into_iter().take(MOST) {
        match usable.and_then(|()| read(&file)) {
            Ok(bytes) => samples.push((file, bytes)),
            Err(failure) => {
                let text = format!(
                    "{}: {}: name images to try it on with --samples",
                    file.display(),
                    failure.message
                );
                return Err(Refusal::Usage(text));
            }
        }
    }
    Ok(samples)
}

/// What the net says of each sample. `activation` is the one that was asked for.
pub(super) fn run(
    net: &mut Net,
    manifest: &Manifest,
    samples: &[(PathBuf, Vec<u8>)],
    activation: Option<Activation>,
) -> anyhow::Result<Vec<Tried>> {
    let (preprocessor, limits) = (Preprocessor::new(manifest)?, ImageLimits::default());
    let mut prepared: Vec<(&Path, Pixels)> = Vec::new();
    for (file, bytes) in samples {
        let pixels = preprocessor.decode(bytes, &limits);
        let pixels = pixels.map_err(|error| Refusal::Usage(format!("{}: {error}", file.display())))?;
        prepared.push((file, pixels));
    }
    let batch: Vec<&Pixels> = prepared.iter().map(|(_, pixels)| pixels).collect();
    let mut alone = Vec::with_capacity(batch.len());
    for pixels in &batch {
        alone.extend(net.logits(&[pixels])?);
    }
    for ((file, _), (together, alone)) in prepared.iter().zip(net.logits(&batch)?.iter().zip(&alone)) {
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > TOLERANCE * b.abs().max(1.0);
        if together.iter().zip(alone).any(differs) {
            let text =
                "is answered otherwise in company than alone: the net takes a batch for something else";
            return Err(Refusal::Unfit(format!("{} {text}", file.display())).into());
        }
    }
    check(&alone, manifest.classes.activation, activation.is_none())?;
    let scorer = Scorer::new(manifest);
    let tried = |((file, pixels), logits): (&(&Path, Pixels), Vec<f32>)| {
        let top: Vec<Prediction> = scorer.top_k(pixels, logits, SHOWN);
        let words = words(&top);
        Tried {
            file: file.display().to_string(),
            predictions: top.into_iter().map(Named::from).collect(),
            words,
        }
    };
    Ok(prepared.iter().zip(alone).map(tried).collect())
}

/// Whether the outputs are what the activation is for; `by_default` is that nobody asked for it.
fn check(outputs: &[Vec<f32>], activation: Activation, by_default: bool) -> Result<(), Refusal> {
    let share = |value: &f32| (-TOLERANCE..=1.0 + TOLERANCE).contains(value);
    let shares = outputs.iter().flatten().all(share);
    let whole = |outputs: &Vec<f32>| (outputs.iter().sum::<f32>() - 1.0).abs() <= TOLERANCE;
    if activation == Activation::None && !shares {
        let text = "its outputs are no probabilities: without --activation none, softmax makes some of them";
        return Err(Refusal::Usage(text.to_owned()));
    }
    if by_default && shares && outputs.iter().all(whole) {
        let text = "its outputs are probabilities, of each image they sum to 1: say --activation none \
                    (or --activation softmax, if that is meant)";
        return Err(Refusal::Usage(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_held_to_the_activation() {
        let check = |outputs: &[f32], activation, by_default| {
            check(&[outputs.to_vec()], activation, by_default).map_err(|error| error.to_string())
        };
        assert!(check(&[0.3, 0.7], Activation::Softmax, true).unwrap_err().contains("--activation none"));
        assert!(check(&[1.3, -0.7], Activation::None, false).unwrap_err().contains("no probabilities"));
        for (outputs, activation, by_default) in [
            (&[0.3, 0.7][..], Activation::Softmax, false),
            (&[0.3, 0.7], Activation::None, false),
            (&[0.3, 0.6], Activation::Softmax, true),
            (&[1.3, -0.3], Activation::Softmax, true),
            (&[3.0], Activation::Sigmoid, false),
        ] {
            assert_eq!(check(outputs, activation, by_default), Ok(()), "{outputs:?}, {activation:?}");
        }
    }
}
