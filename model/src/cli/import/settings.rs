//! What an import is told beside the net: the labels, and how an image becomes the net's input. Each value is spelled as in the
//! manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use registry::{
    Activation, Artifact, Class, Classes, EngineKind, Fit, Input, Interpolation, Layout, Manifest, Order,
    Polarity, Precision, Schema,
};
use serde::de::DeserializeOwned;

use super::Refusal;
use super::net::{Said, Shape};

/// No more of a file of labels is read, and a longer one is refused.
const LARGEST_LABELS: u64 = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// A text file with a label on each line, in the order of the net's outputs. Of one output (sigmoid) the second label is the one
    /// that the output is the probability of.
    #[arg(long, env = "MLAAS_LABELS", value_name = "FILE")]
    labels: PathBuf,
    /// What the net takes: channels, height and width, as 3x224x224 [default: what the file says].
    #[arg(long, env = "MLAAS_INPUT", value_name = "CxHxW")]
    input: Option<Shape>,
    /// What is subtracted from each channel, 0 to 255; one number for all, or one for each, as 123.675,116.28,103.53.
    #[arg(long, env = "MLAAS_MEAN", value_name = "NUMBERS", value_delimiter = ',', required = true)]
    mean: Vec<f32>,
    /// What each channel is divided by then, 0 to 255, as 58.395,57.12,57.375.
    #[arg(long, env = "MLAAS_STD", value_name = "NUMBERS", value_delimiter = ',', required = true)]
    std: Vec<f32>,
    /// How an image becomes a square: centre-crop, stretch or trim-and-pad.
    #[arg(long, env = "MLAAS_FIT", value_name = "FIT", default_value = "centre-crop", value_parser = word::<Fit>)]
    fit: Fit,
    /// The share of the shorter side that centre-crop keeps [default: 0.875].
    #[arg(long, env = "MLAAS_CROP", value_name = "SHARE")]
    crop: Option<f32>,
    /// The resampling filter: bilinear, bicubic or lanczos.
    #[arg(long, env = "MLAAS_INTERPOLATION", value_name = "FILTER", default_value = "bilinear", value_parser = word::<Interpolation>)]
    interpolation: Interpolation,
    /// The order of the net's dimensions: nchw or nhwc.
    #[arg(long, env = "MLAAS_LAYOUT", value_name = "LAYOUT", default_value = "nchw", value_parser = word::<Layout>)]
    layout: Layout,
    /// The order of a pixel's colours, which mean and std follow: rgb or bgr.
    #[arg(long, env = "MLAAS_CHANNELS", value_name = "ORDER", default_value = "rgb", value_parser = word::<Order>)]
    channels: Order,
    /// What makes probabilities of the net's outputs: softmax, sigmoid, or none where they are some [default: softmax].
    #[arg(long, env = "MLAAS_ACTIVATION", value_name = "ACTIVATION", value_parser = word::<Activation>)]
    pub(super) activation: Option<Activation>,
    /// The licence of the weights, as SPDX writes it.
    #[arg(long, env = "MLAAS_LICENSE", value_name = "SPDX", default_value = "NOASSERTION")]
    license: String,
    /// Where the weights come from [default: the file's name].
    #[arg(long, env = "MLAAS_ORIGIN", value_name = "TEXT")]
    origin: Option<String>,
}

/// One of the manifest's words.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| error.to_string())
}

impl Settings {
    /// The labels, in the order of the file.
    pub(super) fn labels(&self) -> anyhow::Result<Vec<String>> {
        let path = self.labels.display();
        let mut bytes = Vec::new();
        File::open(&self.labels)
            .and_then(|file| file.take(LARGEST_LABELS + 1).read_to_end(&mut bytes))
            .with_context(|| format!("cannot read the labels {path}"))?;
        if bytes.len() as u64 > LARGEST_LABELS {
            return Err(Refusal::Unfit(format!(
                "{path} is longer than the {LARGEST_LABELS} bytes that are read"
            ))
            .into());
        }
        let (labels, twice) =
            labels(&bytes).map_err(|what| Refusal::Unfit(format!("the labels {path}: {what}")))?;
        if let Some(twice) = twice {
            eprintln!("model: {path}: {twice}; answers can't be told apart there");
        }
        Ok(labels)
    }

    /// The manifest of the version that a file becomes; its version and the file's digest are not known yet.
    pub(super) fn manifest(
        &self,
        name: &str,
        engine: EngineKind,
        file: &str,
        said: &Said,
        labels: Vec<String>,
    ) -> Result<Manifest, Refusal> {
        let shape = match (self.input, said.shape(self.layout), said.words()) {
            (wanted, Some(shape), _) if wanted.is_none_or(|wanted| wanted == shape) => shape,
            (Some(wanted), _, None) => wanted,
            (_, _, None) => {
                let text = "does not say what size of image it takes: say it with --input, as 3x224x224";
                return Err(Refusal::Usage(format!("{file} {text}")));
            }
            (_, _, Some(words)) => {
                let Shape { channels, size } = self.input.unwrap_or(Shape { channels: 3, size: 224 });
                let (layout, other) = match self.layout {
                    Layout::Nchw => (format!("{channels} x {size} x {size}"), "nhwc"),
                    Layout::Nhwc => (format!("{size} x {size} x {channels}"), "nchw"),
                };
                return Err(Refusal::Usage(format!(
                    "{file} takes images of {words}, not squares as {layout}: look at --input and --layout (or is it {other}?)"
                )));
            }
        };
        let count = labels.len();
        let labels = labels.into_iter().zip(0..).map(|(label, index)| Class { index, label }).collect();
        let activation = self.activation.unwrap_or_default();
        // Two labels may be those of one output.
        let single = said.outputs.unwrap_or(1) == 1 && count == 2 && activation != Activation::Softmax;
        let outputs =
            said.outputs.unwrap_or(if single { 1 } else { u32::try_from(count).unwrap_or(u32::MAX) });
        let classes = Classes { outputs, activation, labels, reject: None, calibration: None };
        if outputs == 1 && activation == Activation::Softmax {
            let text = "it has one output, of which softmax makes a certainty: --activation sigmoid makes two classes of it";
            return Err(Refusal::Usage(format!("{file}: {text}")));
        }
        if classes.probabilities() as usize != count {
            let words = if outputs == 1 {
                "one output, which is two classes".to_owned()
            } else {
                format!("{outputs} outputs")
            };
            return Err(Refusal::Unfit(format!("{file} has {words}, and there are {count} labels")));
        }
        let channels = shape.channels;
        let each = |values: &[f32]| match values {
            [one] => vec![*one; channels.min(3) as usize],
            values => values.to_vec(),
        };
        let crop = match self.fit {
            Fit::CentreCrop => Some(self.crop.unwrap_or(0.875)),
            Fit::Stretch | Fit::TrimAndPad => self.crop,
        };
        Ok(Manifest {
            schema: Schema,
            name: name.to_owned(),
            version: 1,
            artifacts: vec![Artifact {
                engine,
                file: super::net::file(engine).to_owned(),
                architecture: None,
                precision: Precision::F32,
                tolerance: None,
                fetch: None,
            }],
            classes,
            input: Input {
                size: shape.size,
                channels,
                order: self.channels,
                layout: self.layout,
                fit: self.fit,
                crop,
                interpolation: self.interpolation,
                polarity: Polarity::AsIs,
                mean: each(&self.mean),
                std: each(&self.std),
            },
            metrics: Vec::new(),
            parents: Vec::new(),
            data: Vec::new(),
            license: self.license.clone(),
            origin: self.origin.clone().unwrap_or_else(|| format!("imported from {}", file.escape_default())),
            files: BTreeMap::new(),
        })
    }
}

/// A file's labels, and what is to be said of those that stand there twice.
fn labels(bytes: &[u8]) -> Result<(Vec<String>, Option<String>), String> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut labels: Vec<String> = Vec::new();
    let mut lines = BTreeMap::new();
    let mut twice = Vec::new();
    for (line, label) in (1..).zip(text.trim_end().lines()) {
        let label = label.trim();
        if label.is_empty() {
            return Err(format!("line {line} is empty"));
        }
        if label.chars().any(char::is_control) {
            return Err(format!("line {line} holds a control character"));
        }
        if let Some(first) = lines.insert(label.to_owned(), line) {
            twice.push(format!("{label:?} stands on line {first} and line {line}"));
        }
        labels.push(label.to_owned());
    }
    if labels.is_empty() {
        return Err("it holds none".to_owned());
    }
    let more = twice.len().saturating_sub(3);
    twice.truncate(3);
    if more > 0 {
        twice.push(format!("{more} more stand there twice"));
    }
    Ok((labels, Some(twice.join(", ")).filter(|twice| !twice.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lines_and_what_is_wrong_is_said_by_its_line() {
        let read = |text: &str| labels(text.as_bytes());
        let expected = (vec!["a hen".to_owned(), "an owl".to_owned()], None);
        for text in ["a hen\nan owl", "a hen\r\nan owl\r\n", "\u{feff}a hen \n an owl\n\n\n"] {
            assert_eq!(read(text).unwrap(), expected, "{text:?}");
        }
        let (all, twice) = read("crane\nowl\ncrane").unwrap();
        assert_eq!((all.len(), twice.unwrap().as_str()), (3, "\"crane\" stands on line 1 and line 3"));
        for (text, words) in [
            ("", "none"),
            ("\n \n", "none"),
            ("a\n\nb", "line 2 is empty"),
            ("a\nb\u{1b}[2J", "line 2 holds"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert_eq!(labels(b"a\nb\n\xff").unwrap_err(), "line 3 is not UTF-8");
    }
}
