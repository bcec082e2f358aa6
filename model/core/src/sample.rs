//! A version's samples: whether an engine still calls them what the version's manifest says. The command line and the worker ask here.

use std::path::Path;

use registry::Sample;

use crate::{Engine, EngineError, ImageError, Pixels, Scorer};

/// Why a version is not the one that its manifest describes, or not here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The file is no image that can be used.
    #[error("its sample {file} can't be used")]
    Image {
        /// The file.
        file: String,
        /// Why.
        source: ImageError,
    },
    /// The engine gave no outputs.
    #[error("its sample {file} can't be computed")]
    Compute {
        /// The file.
        file: String,
        /// Why.
        source: EngineError,
    },
    /// It is called something else.
    #[error(
        "its sample {file} is called {found}, and should be called {expected}: the net, or what computes it here, answers otherwise than \
         when the version was made; serve another version"
    )]
    Named {
        /// The file.
        file: String,
        /// The first label of the answer.
        found: String,
        /// The manifest's.
        expected: String,
    },
}

/// The name that a sample gets in a version's folder, counted from 1: with the ending of the file that it was, where that is a plain one.
#[must_use]
pub fn sample_name(number: usize, file: &Path) -> String {
    let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let is_plain = |ending: &String| ending.len() <= 4 && ending.bytes().all(|b| b.is_ascii_alphanumeric());
    let ending = ending.filter(is_plain).map(|ending| format!(".{ending}")).unwrap_or_default();
    format!("sample-{number}{ending}")
}

/// Has the engine name a sample, whose file holds `bytes`, `decode` makes pixels of and `scorer` labels.
///
/// # Errors
/// [`SampleError`] where it is not called what it should be, or can't be named.
pub fn try_sample(
    engine: &mut dyn Engine,
    scorer: &Scorer,
    decode: impl FnOnce(&[u8]) -> Result<Pixels, ImageError>,
    sample: &Sample,
    bytes: &[u8],
) -> Result<(), SampleError> {
    let (file, expected) = (sample.file.clone(), sample.label.clone());
    let pixels = match decode(bytes) {
        Ok(pixels) => pixels,
        Err(source) => return Err(SampleError::Image { file, source }),
    };
    let outputs = match engine.logits(&[&pixels]) {
        Ok(outputs) => outputs.into_iter().next().unwrap_or_default(),
        Err(source) => return Err(SampleError::Compute { file, source }),
    };
    let top = scorer.top_k(&pixels, outputs, 1).into_iter().next();
    let found = top.map_or_else(|| "nothing".to_owned(), |top| top.label);
    if found == expected { Ok(()) } else { Err(SampleError::Named { file, found, expected }) }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use registry::{Activation, Class, Classes, Fit, Reject};

    use super::*;

    /// Its only output is as likely as the image is bright; an image of 255 can't be computed.
    struct Bright;

    impl Engine for Bright {
        fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
            let one = |pixels: &&Pixels| match pixels.data[0] {
                255 => Err(EngineError::NotANumber { position: 0 }),
                value => Ok(vec![f32::from(value), 100.0]),
            };
            batch.iter().map(one).collect()
        }

        fn warm_up(&mut self, _: usize) -> Result<(), EngineError> {
            Ok(())
        }

        fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
            Ok(Box::new(Self))
        }
    }

    fn tried(value: u8, label: &str) -> Result<(), SampleError> {
        let classes = Classes {
            outputs: 2,
            activation: Activation::Softmax,
            labels: vec![Class { index: 0, label: "lamp".into() }],
            reject: Some(Reject { label: "no lamp".into(), threshold: 0.5 }),
            calibration: None,
        };
        let decode = |bytes: &[u8]| match bytes {
            [] => Err(ImageError::UnknownFormat),
            _ => Ok(Pixels { width: 1, height: 1, channels: 1, data: bytes.to_vec() }),
        };
        let sample = Sample { file: "sample-1.png".into(), label: label.into() };
        let bytes = [value];
        let bytes = if value == 0 { &[][..] } else { &bytes };
        try_sample(&mut Bright, &Scorer::of(classes, Fit::Stretch), decode, &sample, bytes)
    }

    #[test]
    fn a_sample_keeps_a_plain_ending_of_its_name() {
        let cases = [("a/Macaw.JPG", "sample-2.jpg"), ("a.webp", "sample-2.webp"), ("a", "sample-2")];
        let others = [("a.p g", "sample-2"), ("a.b/c", "sample-2"), ("a.picture", "sample-2")];
        for (file, expected) in cases.into_iter().chain(others) {
            assert_eq!(sample_name(2, Path::new(file)), expected, "{file}");
        }
    }

    #[test]
    fn a_sample_is_called_what_the_manifest_says_or_it_is_said_what() {
        tried(200, "lamp").unwrap();
        tried(20, "no lamp").unwrap();
        let refused = tried(20, "lamp").unwrap_err().to_string();
        assert!(
            refused.starts_with("its sample sample-1.png is called no lamp, and should be called lamp: "),
            "{refused}"
        );
        assert!(tried(200, "no lamp").unwrap_err().to_string().contains("is called lamp"));
        for (value, words) in [(0, "format"), (255, "no number")] {
            let error = tried(value, "lamp").unwrap_err();
            let why = error.source().unwrap().to_string();
            assert!(error.to_string().contains("its sample sample-1.png can't be"), "{error}");
            assert!(why.contains(words), "{why}");
        }
    }
}
