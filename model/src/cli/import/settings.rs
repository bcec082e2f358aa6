//! What an import is told beside the net: the labels, and how an image becomes the net's input. Each value is spelled as in the
//! manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use model_core::presets::{Colours, Preset, Setting};
use registry::{
    Activation, Artifact, Class, Classes, EngineKind, Fit, Input, Interpolation, Layout, Manifest, Order,
    Polarity, Precision, Schema,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Refusal;
use super::labels;
use super::net::{Said, Shape};
use super::taken::{self, By, Taken};

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Take what is not given from the files beside a net: preprocessor_config.json and config.json, as Hugging Face's transformers
    /// and timm write them. The folder that they lie in, or one of them.
    #[arg(long, env = "MLAAS_FROM", value_name = "FOLDER|FILE", conflicts_with = "preset")]
    from: Option<PathBuf>,
    /// Take what is not given from what torchvision says of a set of its weights, as ResNet50_Weights.IMAGENET1K_V2.
    #[arg(long, env = "MLAAS_PRESET", value_name = "NAME")]
    preset: Option<String>,
    /// A text file with a label on each line, in the order of the net's outputs. Of one output (sigmoid) the second label is the one
    /// that the output is the probability of.
    #[arg(long, env = "MLAAS_LABELS", value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What the net takes: channels, height and width, as 3x224x224 [default: what the file says].
    #[arg(long, env = "MLAAS_INPUT", value_name = "CxHxW")]
    input: Option<Shape>,
    /// What is subtracted from each channel, 0 to 255; one number for all, or one for each, as 123.675,116.28,103.53.
    #[arg(long, env = "MLAAS_MEAN", value_name = "NUMBERS", value_delimiter = ',')]
    mean: Option<Vec<f32>>,
    /// What each channel is divided by then, 0 to 255, as 58.395,57.12,57.375.
    #[arg(long, env = "MLAAS_STD", value_name = "NUMBERS", value_delimiter = ',')]
    std: Option<Vec<f32>>,
    /// How an image becomes a square: centre-crop, stretch or trim-and-pad [default: centre-crop].
    #[arg(long, env = "MLAAS_FIT", value_name = "FIT", value_parser = word::<Fit>)]
    fit: Option<Fit>,
    /// The share of the shorter side that centre-crop keeps [default: 0.875].
    #[arg(long, env = "MLAAS_CROP", value_name = "SHARE")]
    crop: Option<f32>,
    /// The resampling filter: bilinear, bicubic or lanczos [default: bilinear].
    #[arg(long, env = "MLAAS_INTERPOLATION", value_name = "FILTER", value_parser = word::<Interpolation>)]
    interpolation: Option<Interpolation>,
    /// The order of the net's dimensions: nchw or nhwc.
    #[arg(long, env = "MLAAS_LAYOUT", value_name = "LAYOUT", default_value = "nchw", value_parser = word::<Layout>)]
    layout: Layout,
    /// The order of a pixel's colours, which mean and std follow: rgb or bgr [default: rgb].
    #[arg(long, env = "MLAAS_CHANNELS", value_name = "ORDER", value_parser = word::<Order>)]
    channels: Option<Order>,
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

/// Such a word, as the manifest writes it.
fn spelled<T: Serialize>(value: T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn list(values: &[f32]) -> String {
    values.iter().map(f32::to_string).collect::<Vec<_>>().join(",")
}

/// What was taken from others, each with where it came from.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<(String, String)>);

impl Notes {
    fn add(&mut self, source: &str, what: impl Into<String>) {
        self.0.push((source.to_owned(), what.into()));
    }

    /// A line for each source, in the order in which they were heard.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
        for (source, what) in &self.0 {
            match lines.iter_mut().find(|(known, _)| known == source) {
                Some((_, all)) => all.push(what),
                None => lines.push((source, vec![what])),
            }
        }
        lines.iter().map(|(source, all)| format!("from {source}: {}", all.join(", "))).collect()
    }
}

impl Settings {
    /// What others say, where somebody asked for it.
    pub(super) fn taken(&self, net: &Path) -> anyhow::Result<Taken> {
        match (&self.preset, &self.from) {
            (Some(name), _) => Ok(Taken::by_name(name)?),
            (None, Some(path)) => Taken::from(path),
            (None, None) => {
                let missing = [
                    ("--labels", self.labels.is_none()),
                    ("--mean", self.mean.is_none()),
                    ("--std", self.std.is_none()),
                ];
                let missing: Vec<&str> =
                    missing.iter().filter(|(_, missing)| *missing).map(|(flag, _)| *flag).collect();
                if missing.is_empty() {
                    return Ok(Taken::default());
                }
                let mut text = format!("{} missing: what the net was trained with", missing.join(" and "));
                match taken::beside(net) {
                    Some(folder) => {
                        text += &format!("; --from {} takes what the files there say of it", folder.display())
                    }
                    None => {
                        text += ", or --preset with the name of torchvision's weights, or --from with the folder of its config.json"
                    }
                }
                Err(Refusal::Usage(text).into())
            }
        }
    }

    /// The labels, in the order of the net's outputs.
    pub(super) fn labels(&self, taken: &Taken, notes: &mut Notes) -> anyhow::Result<Vec<String>> {
        let (source, read) = match (&self.labels, &taken.labels) {
            (Some(path), _) => {
                let source = format!("the labels {}", path.display());
                (source, labels::read(path)?)
            }
            (None, Some(By { source, said })) => {
                let said = said.clone().map_err(|what| Refusal::Usage(format!("{source}: {what}")))?;
                notes.add(source, format!("{} labels", said.len()));
                let each =
                    said.into_iter().enumerate().map(|(index, label)| (format!("label {index}"), label));
                (source.clone(), labels::checked(each))
            }
            (None, None) => {
                let text = "--labels is missing: a text file with a label on each line, in the order of the net's outputs";
                return Err(Refusal::Usage(text.to_owned()).into());
            }
        };
        let (labels, twice) = read.map_err(|what| Refusal::Unfit(format!("{source}: {what}")))?;
        if let Some(twice) = twice {
            eprintln!(
                "model: {}: {twice}; answers can't be told apart there",
                source.trim_start_matches("the labels ")
            );
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
        (taken, notes): (&Taken, &mut Notes),
    ) -> Result<Manifest, Refusal> {
        let shape = self.shape(file, said, taken, notes)?;
        let classes = self.classes(file, said, labels, taken, notes)?;
        Ok(Manifest {
            schema: Schema::default(),
            name: name.to_owned(),
            version: 1,
            artifacts: vec![Artifact {
                engine,
                file: super::net::file(engine).to_owned(),
                architecture: None,
                precision: if said.quantised { Precision::Int8 } else { Precision::F32 },
                tolerance: None,
                fetch: None,
            }],
            classes,
            input: self.image(shape, taken, notes)?,
            metrics: Vec::new(),
            parents: Vec::new(),
            data: Vec::new(),
            configuration: None,
            samples: Vec::new(),
            license: self.license.clone(),
            origin: self.origin.clone().unwrap_or_else(|| format!("imported from {}", file.escape_default())),
            files: BTreeMap::new(),
        })
    }

    /// The image that the net takes: as it is given, else as the net's file says, which others must not gainsay, else as they say.
    fn shape(&self, file: &str, said: &Said, taken: &Taken, notes: &mut Notes) -> Result<Shape, Refusal> {
        let preset = taken.preset.as_ref();
        let told = preset.map(|By { source, said }| {
            (source, said.size.clone().map(|size| Shape { channels: said.channels(), size }))
        });
        let own = said.shape(self.layout);
        match (self.input, own, said.words()) {
            (wanted, Some(shape), _) if wanted.is_none_or(|wanted| wanted == shape) => match told {
                Some((source, Ok(told))) if wanted.is_none() && told != shape => {
                    Err(Refusal::Usage(format!(
                        "{file} takes images of {shape}, and {source} makes them {told}: if {shape} is right, say --input {shape}"
                    )))
                }
                _ => Ok(shape),
            },
            (Some(wanted), _, None) => Ok(wanted),
            (None, _, None) => match told {
                Some((source, told)) => {
                    let shape = told.map_err(|what| Refusal::Usage(format!("{source}: {what}")))?;
                    notes.add(source, format!("input {shape}"));
                    Ok(shape)
                }
                None => {
                    let text = "does not say what size of image it takes: say it with --input, as 3x224x224";
                    Err(Refusal::Usage(format!("{file} {text}")))
                }
            },
            (_, _, Some(words)) => {
                let Shape { channels, size } = self.input.unwrap_or(Shape { channels: 3, size: 224 });
                let (layout, other) = match self.layout {
                    Layout::Nchw => (format!("{channels} x {size} x {size}"), "nhwc"),
                    Layout::Nhwc => (format!("{size} x {size} x {channels}"), "nchw"),
                };
                Err(Refusal::Usage(format!(
                    "{file} takes images of {words}, not squares as {layout}: look at --input and --layout (or is it {other}?)"
                )))
            }
        }
    }

    fn classes(
        &self,
        file: &str,
        said: &Said,
        labels: Vec<String>,
        taken: &Taken,
        notes: &mut Notes,
    ) -> Result<Classes, Refusal> {
        let activation = match (self.activation, &taken.activation) {
            (Some(given), _) => given,
            (None, Some(By { source, said })) => {
                let said = said.clone().map_err(|what| Refusal::Usage(format!("{source}: {what}")))?;
                said.inspect(|said| notes.add(source, format!("activation {}", spelled(said))))
                    .unwrap_or_default()
            }
            (None, None) => Activation::default(),
        };
        let count = labels.len();
        let labels = labels.into_iter().zip(0..).map(|(label, index)| Class { index, label }).collect();
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
        Ok(classes)
    }

    /// How an image becomes the net's input.
    fn image(
        &self,
        Shape { channels, size }: Shape,
        taken: &Taken,
        notes: &mut Notes,
    ) -> Result<Input, Refusal> {
        let mut all = Others { preset: taken.preset.as_ref(), notes };
        let (fit, share) = match self.fit {
            Some(fit) => Some((fit, None)),
            None => all.ask(
                |preset| preset.fit.clone(),
                |(fit, share)| {
                    let share = share.filter(|_| self.crop.is_none()).map(|share| format!(" of {share}"));
                    format!("fit {}{}", spelled(fit), share.unwrap_or_default())
                },
            )?,
        }
        .unwrap_or((Fit::CentreCrop, None));
        let crop = self.crop.or(share).or((fit == Fit::CentreCrop).then_some(0.875));
        let interpolation = match self.interpolation {
            Some(given) => given,
            None => all
                .ask(
                    |preset| preset.interpolation.clone(),
                    |filter| format!("interpolation {}", spelled(filter)),
                )?
                .unwrap_or_default(),
        };
        let order = match self.channels {
            Some(given) => given,
            None => {
                // Said where it is not what everybody expects.
                let words = |order: &Order| {
                    if *order == Order::Bgr { "channels bgr".to_owned() } else { String::new() }
                };
                all.ask(|preset| Ok(preset.order), words)?.unwrap_or_default()
            }
        };
        let mut colours = |given: &Option<Vec<f32>>, flag: &str, of: fn(Colours) -> Vec<f32>| match given {
            Some(given) => Ok(given.clone()),
            None => all
                .ask(|preset| preset.colours.clone().map(of), |values| format!("{flag} {}", list(values)))?
                .ok_or_else(|| Refusal::Usage(format!("--{flag} is missing: {NO_COLOURS}"))),
        };
        let each = |values: Vec<f32>| match values[..] {
            [one] => vec![one; channels.min(3) as usize],
            _ => values,
        };
        let mean = each(colours(&self.mean, "mean", |colours| colours.mean)?);
        let std = each(colours(&self.std, "std", |colours| colours.std)?);
        let (layout, polarity) = (self.layout, Polarity::AsIs);
        Ok(Input { size, channels, order, layout, fit, crop, interpolation, polarity, mean, std })
    }
}

const NO_COLOURS: &str = "config.json alone does not say it; preprocessor_config.json does";

/// What others say of an image, asked one by one.
struct Others<'a> {
    preset: Option<&'a By<Preset>>,
    notes: &'a mut Notes,
}

impl Others<'_> {
    /// A setting of theirs, noted in these `words`; none where nobody says anything.
    fn ask<T>(
        &mut self,
        setting: impl FnOnce(&Preset) -> Setting<T>,
        words: impl FnOnce(&T) -> String,
    ) -> Result<Option<T>, Refusal> {
        let Some(By { source, said }) = self.preset else { return Ok(None) };
        let value = setting(said).map_err(|what| Refusal::Usage(format!("{source}: {what}")))?;
        let words = words(&value);
        if !words.is_empty() {
            self.notes.add(source, words);
        }
        Ok(Some(value))
    }
}
