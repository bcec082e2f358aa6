//! A version's samples on the command line: whether an engine calls them what they should be called.

use std::path::PathBuf;
use std::str::FromStr;

use model_core::{Engine, ImageLimits, Preprocessor, SampleError, Scorer, sample_name, try_sample};
use registry::manifest::SAMPLE_LIMIT;
use registry::{Manifest, Sample};

use super::predict::read;
use super::publish::Refusal;

/// Samples, and what their files hold.
pub(super) type Samples = Vec<(Sample, Vec<u8>)>;

/// An image that somebody names, and what a net should call it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    file: PathBuf,
    label: String,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((file, label)) if !file.is_empty() && !label.is_empty() => {
                Ok(Self { file: file.into(), label: label.into() })
            }
            _ => Err("give an image and what it is called, as sandal.png=Sandal".into()),
        }
    }
}

/// What is given, read, if the net has such labels.
pub(super) fn given(all: &[Given], manifest: &Manifest) -> Result<Samples, Refusal> {
    let mut samples = Vec::new();
    for (place, Given { file, label }) in all.iter().enumerate() {
        let refuse = |what: String| Err(Refusal::Usage(format!("--sample {}: {what}", file.display())));
        if !manifest.classes.labels.iter().any(|class| class.label == *label) {
            return refuse(format!("{label:?} is none of the labels"));
        }
        let bytes = match read(file) {
            Ok(bytes) => bytes,
            Err(failure) => return refuse(failure.message),
        };
        if bytes.len() as u64 > SAMPLE_LIMIT {
            return refuse(format!("it has {} bytes, and {SAMPLE_LIMIT} is the most", bytes.len()));
        }
        samples.push((Sample { file: sample_name(place + 1, file), label: label.clone() }, bytes));
    }
    Ok(samples)
}

/// Whether the engine calls each of them what it should.
pub(super) fn tried(
    engine: &mut dyn Engine,
    manifest: &Manifest,
    samples: &Samples,
) -> anyhow::Result<Vec<Result<(), SampleError>>> {
    let (preprocessor, scorer) = (Preprocessor::new(manifest)?, Scorer::new(manifest));
    let decode = |bytes: &[u8]| preprocessor.decode(bytes, &ImageLimits::default());
    Ok(samples.iter().map(|(sample, bytes)| try_sample(engine, &scorer, decode, sample, bytes)).collect())
}

/// Why given samples are not the net's, said by the names that they were given by.
pub(super) fn unlike(all: &[Given], tried: Vec<Result<(), SampleError>>) -> Result<(), Refusal> {
    for (Given { file, label }, tried) in all.iter().zip(tried) {
        let what = match tried {
            Ok(()) => continue,
            Err(SampleError::Named { found, .. }) => format!("the net calls it {found}, and not {label}"),
            Err(error) => ::cli::sentence(&error),
        };
        return Err(Refusal::Unfit(format!("--sample {}: {what}", file.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_sample_is_a_file_and_a_label() {
        let Given { file, label } = "a=b/owl.png=great grey owl".parse().unwrap();
        assert_eq!((file.as_path(), label.as_str()), (Path::new("a=b/owl.png"), "great grey owl"));
        for wrong in ["", "owl.png", "owl.png=", "=owl"] {
            assert!(wrong.parse::<Given>().is_err(), "{wrong}");
        }
    }
}
