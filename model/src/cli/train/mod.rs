//! `model train`: which recipe a configuration is, and what can be typed for both.

mod classes;
mod clothes;

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use model::DeviceChoice;
use model::train::config::parse;
use model::transfer::config::Recipe;
use serde::Deserialize;

use super::publish::Refusal;

const OWN: &str = "Classes of your own (configs/birds.yaml)";

#[derive(Debug, Args)]
pub(super) struct Train {
    /// The training configuration: configs/fashion-mnist.yaml, or configs/birds.yaml for classes of your own.
    #[arg(default_value = "configs/fashion-mnist.yaml", value_name = "CONFIG")]
    config: PathBuf,
    /// The folder with the four idx files of the clothes, plain or gzipped [default: /usr/share/datasets/fashion-mnist]; with classes of
    /// your own the folder with their images, FOLDER/<class>/*.
    #[arg(long, env = "MLAAS_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The folder of model versions; the result becomes the next one there. With classes of your own it is made where it is not there.
    #[arg(long, env = "MLAAS_WEIGHTS", default_value = "weights", value_name = "FOLDER")]
    weights: PathBuf,
    /// Write the result to this folder instead: <weights>/<model>/<number>.
    #[arg(long, env = "MLAAS_OUTPUT", value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Let the alias `production` name the result; it does anyway where there is no such alias yet.
    #[arg(long, env = "MLAAS_PROMOTE", value_parser = FalseyValueParser::new())]
    promote: bool,
    /// Replace an existing version, and drop the checkpoint of an unfinished run.
    #[arg(long, env = "MLAAS_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,
    /// Go on from the checkpoint where there is one.
    #[arg(long, env = "MLAAS_RESUME", value_parser = FalseyValueParser::new())]
    resume: bool,
    /// The folder of checkpoints, one for each model.
    #[arg(long, env = "MLAAS_RUNS", default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
    /// Stop after this many epochs; --resume goes on.
    #[arg(long, env = "MLAAS_STOP_AFTER", value_name = "EPOCHS")]
    stop_after: Option<usize>,
    /// Threads to compute with [default: one for each core]. With one the result is the same each time.
    #[arg(long, env = "MLAAS_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where to compute: cpu, cuda, or auto for cuda where there is one.
    #[arg(long, env = "MLAAS_DEVICE", default_value_t = DeviceChoice::Cpu, value_name = "DEVICE")]
    device: DeviceChoice,
    /// With classes of your own: the result's name.
    #[arg(long, env = "MLAAS_NAME", value_name = "NAME", help_heading = OWN)]
    name: Option<String>,
    /// The version whose net is taken: its model's name [default: bird], or name/version.
    #[arg(long, env = "MLAAS_BACKBONE", value_name = "MODEL[/VERSION]", help_heading = OWN)]
    backbone: Option<String>,
    /// The folder of model versions that the backbone is in [default: weights].
    #[arg(long, env = "MLAAS_BACKBONE_WEIGHTS", value_name = "FOLDER", help_heading = OWN)]
    backbone_weights: Option<PathBuf>,
    /// Measure how far the accuracy varies, too: with each of N parts of the images kept out in turn.
    #[arg(long, env = "MLAAS_FOLDS", value_name = "N", value_parser = clap::value_parser!(u8).range(2..=100), help_heading = OWN)]
    folds: Option<u8>,
    /// A folder of folders of images that show none of the classes: what is to be told from them is chosen by these.
    #[arg(long, env = "MLAAS_OTHER", value_name = "FOLDER", help_heading = OWN)]
    other: Option<PathBuf>,
    /// Leave out what can't be used, and write a list of it to this file.
    #[arg(long, env = "MLAAS_FIX", value_name = "FILE", help_heading = OWN)]
    fix: Option<PathBuf>,
    /// How many of the photographs kept out go with the result at most, small ones that it names right: whoever serves it sees first whether
    /// it still does [default: 4; 0 for none].
    #[arg(long, env = "MLAAS_SAMPLE_IMAGES", value_name = "N", value_parser = clap::value_parser!(u8).range(0..=16), help_heading = OWN)]
    sample_images: Option<u8>,
    /// Print one JSON object for each epoch and one for the result.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What a configuration says of itself; all else is for its recipe to read.
#[derive(Deserialize)]
struct Which {
    recipe: Option<Recipe>,
}

impl Train {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        if registry::store::is_url(&self.weights) {
            let text =
                "a training needs a folder for --weights: `model publish` brings what it made to a store";
            return Err(Refusal::Usage(text.to_owned()).into());
        }
        let Which { recipe } = parse(&self.config)?;
        let (options, what) = match recipe {
            Some(Recipe::Transfer) => (
                [
                    ("output", self.output.is_some()),
                    ("resume", self.resume),
                    ("stop-after", self.stop_after.is_some()),
                    ("device", self.device != DeviceChoice::Cpu),
                    ("", false),
                    ("", false),
                    ("", false),
                ],
                "a recipe for classes of your own: a run that was ended is simply begun again, and goes on",
            ),
            None => (
                [
                    ("name", self.name.is_some()),
                    ("backbone", self.backbone.is_some()),
                    ("backbone-weights", self.backbone_weights.is_some()),
                    ("folds", self.folds.is_some()),
                    ("other", self.other.is_some()),
                    ("fix", self.fix.is_some()),
                    ("sample-images", self.sample_images.is_some()),
                ],
                "the recipe of the clothes: configs/birds.yaml is for classes of your own",
            ),
        };
        if let Some((option, _)) = options.into_iter().find(|(_, is_given)| *is_given) {
            let text = format!("--{option} does not go with {}, {what}", self.config.display());
            return Err(Refusal::Usage(text).into());
        }
        match recipe {
            Some(Recipe::Transfer) => self.classes(),
            None => self.clothes(),
        }
    }

    fn threads(&self) -> u16 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(|| cores.try_into().unwrap_or(u16::MAX))
    }
}
