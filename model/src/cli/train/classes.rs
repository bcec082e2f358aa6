//! Classes of one's own: from a folder of labelled images to a model version, with a bar, plain lines, or JSON objects.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::ProgressBar;
use model::Preprocessor;
use model::transfer::config::TransferConfig;
use model::transfer::folder::{Finding, Folder};
use model::transfer::{Change, Event, Job, Measured, Others, Trained, Tuning, train};
use registry::{ModelVersion, Registry, RegistryError, Select};
use serde::Serialize;

use super::super::output::{json, line, percent};
use super::super::progress;
use super::super::publish::{Refusal, can_be_written, end_between_writes, publish_files, write_output};
use super::Train;
use crate::cli::SUCCESS;

/// The project's own version that knows photographs.
const BACKBONE: &str = "bird";
/// So many photographs go with the result, unless somebody says otherwise.
const SAMPLES: u8 = 4;

/// The folder is no good to learn from.
#[derive(Debug, thiserror::Error)]
#[error(
    "{count} of what is in {data} can't be learned from: mend it, or leave it out with --fix FILE, which writes a list of it"
)]
struct Refused {
    count: usize,
    data: PathBuf,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Finding(&'a Finding),
    Changed(&'a Change),
    Images {
        images: usize,
        classes: usize,
        left_out: usize,
    },
    Layer {
        layer: usize,
        layers: usize,
        epochs: usize,
        loss: f64,
    },
    Tuned {
        stage: usize,
        stages: usize,
        epoch: usize,
        epochs: usize,
        loss: Option<f64>,
        check_loss: Option<f64>,
        check_accuracy: Option<f64>,
    },
    Published {
        model: &'a str,
        version: u32,
        digest: &'a str,
        production: bool,
        #[serde(flatten)]
        measured: &'a Measured,
    },
}

impl Train {
    pub(super) fn classes(self) -> anyhow::Result<u8> {
        let config = TransferConfig::read(&self.config)?;
        let need = |option: &str, what: &str| {
            let config = self.config.display();
            Refusal::Usage(format!("{config} needs {option}: {what}"))
        };
        let data =
            self.data.as_deref().ok_or_else(|| need("--data FOLDER", "the images, FOLDER/<class>/*"))?;
        let name = self.name.as_deref().ok_or_else(|| need("--name NAME", "the name of the result"))?;
        end_between_writes()?;
        if self.weights.exists() && !self.weights.is_dir() {
            return Err(RegistryError::NoRoot { path: self.weights }.into());
        }
        let registry = Registry::at(&self.weights)?;
        // What needs no work is said first.
        registry.next_version(name)?;
        self.fix.as_deref().map_or(Ok(()), can_be_written)?;
        let backbone = self.backbone()?;
        let folder = self.look_at(data, &backbone)?;
        let others = self.other.as_deref().map(|other| self.look_at_others(other, &backbone)).transpose()?;

        let command = self.command(data, name);
        let job = Job {
            config: &config,
            folder: &folder,
            others: others.as_ref(),
            backbone: &backbone,
            name,
            folds: self.folds.map(usize::from),
            samples: self.sample_images.unwrap_or(SAMPLES).into(),
            command: &command,
            cache: &self.runs.join("features"),
            run: &self.runs.join(name),
            force: self.force,
            threads: self.threads().into(),
        };
        let mut watcher = Watcher::new(self.json);
        let trained = train(&job, &mut |event| watcher.on(&event));
        watcher.end()?;
        let trained = trained?;
        self.tell_changes(&folder)?;
        let Trained { measured, manifest, files, .. } = &trained;
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        let (version, production) = publish_files(&registry, manifest.clone(), &files)?;
        self.report(&version, production, measured)?;
        trained.done()?;
        Ok(SUCCESS)
    }

    /// What is to be typed for the same figures: where they are kept changes none.
    fn command(&self, data: &Path, name: &str) -> String {
        let mut command =
            format!("model train {} --data {} --name {name}", self.config.display(), data.display());
        let paths =
            [("backbone-weights", &self.backbone_weights), ("other", &self.other), ("fix", &self.fix)];
        let paths = paths.map(|(name, path)| (name, path.as_ref().map(|path| path.display().to_string())));
        let folds = ("folds", self.folds.map(|folds| folds.to_string()));
        for (name, value) in [("backbone", self.backbone.clone()), folds].into_iter().chain(paths) {
            command.extend(value.map(|value| format!(" --{name} {value}")));
        }
        command
    }

    /// The version whose net is taken.
    fn backbone(&self) -> anyhow::Result<ModelVersion> {
        let named = self.backbone.as_deref().unwrap_or(BACKBONE);
        let (model, version) = match named.split_once('/') {
            Some((model, version)) => (model, version.parse()?),
            None => (named, Select::default()),
        };
        let root = self.backbone_weights.as_deref().unwrap_or(Path::new("weights"));
        Registry::open(root)
            .and_then(|registry| registry.load(model, &version))
            .with_context(|| format!("there is no backbone {named} in {}", root.display()))
    }

    /// The images, all of which can be learned from, or those that can.
    fn look_at(&self, data: &Path, backbone: &ModelVersion) -> anyhow::Result<Folder> {
        let folder = self.read(data, backbone)?;
        let (findings, count) = (&folder.findings, folder.findings.len());
        for finding in findings {
            if self.json {
                json(&Line::Finding(finding))?;
            } else {
                eprintln!("model: {finding}");
            }
        }
        if let Some(list) = &self.fix {
            let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
            write_output(list, text.as_bytes())?;
        }
        let fatal = findings.iter().any(|finding| !finding.kind.can_be_left_out());
        if fatal || (count > 0 && self.fix.is_none()) {
            return Err(Refused { count, data: data.to_owned() }.into());
        }
        let (images, classes) = (folder.images.len(), folder.classes.len());
        if self.json {
            json(&Line::Images { images, classes, left_out: count })?;
        } else {
            line(&format!("{}: {images} images of {classes} classes, {count} left out", data.display()))?;
        }
        Ok(folder)
    }

    /// Says what of the folder is not what was learned from any more. What was learned is whole all the same.
    fn tell_changes(&self, folder: &Folder) -> anyhow::Result<()> {
        let changes = match folder.changes() {
            Ok(changes) => changes,
            Err(error) => {
                eprintln!("model: what was learned from is gone: {error}");
                return Ok(());
            }
        };
        for change in &changes {
            if self.json {
                json(&Line::Changed(change))?;
            } else {
                eprintln!("model: {change}");
            }
        }
        Ok(())
    }

    /// Images of none of the classes. What can't be read among them is no loss.
    fn look_at_others(&self, other: &Path, backbone: &ModelVersion) -> anyhow::Result<Folder> {
        let folder = self.read(other, backbone)?;
        if folder.images.is_empty() {
            let text = format!("--other {}: there is no image in FOLDER/<any>/*", other.display());
            return Err(Refusal::Usage(text).into());
        }
        Ok(folder)
    }

    fn read(&self, data: &Path, backbone: &ModelVersion) -> anyhow::Result<Folder> {
        let preprocessor = Preprocessor::new(&backbone.manifest)?;
        let bar = progress::bar(0, true);
        bar.set_message("looking at images");
        let mut on = |done: usize, all: usize| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        };
        let folder = Folder::read(data, &preprocessor, self.threads().into(), &mut on);
        bar.finish_and_clear();
        Ok(folder?)
    }

    fn report(&self, version: &ModelVersion, production: bool, measured: &Measured) -> anyhow::Result<()> {
        let (manifest, digest) = (&version.manifest, &version.digest);
        if self.json {
            let (model, version) = (manifest.name.as_str(), manifest.version);
            return json(&Line::Published { model, version, digest, production, measured });
        }
        let Measured { accuracy, top5, images, ref folds, own_rejected, others_rejected, others, .. } =
            *measured;
        line(&format!(
            "{} of {images} images kept out are named right, {} among the five likeliest",
            percent(accuracy),
            percent(top5)
        ))?;
        if let Some(tuning) = measured.fine_tuning {
            let Tuning { blocks, epochs, accuracy_before } = tuning;
            let before = percent(accuracy_before);
            line(&match epochs {
                0 => format!("fine-tuning the last {blocks} blocks made it no better: the net is as it was"),
                _ => format!("{before} before the last {blocks} blocks were fine-tuned, {epochs} epochs"),
            })?;
        }
        if !folds.is_empty() {
            let mean = folds.iter().sum::<f64>() / folds.len() as f64;
            let square = folds.iter().map(|fold| (fold - mean).powi(2)).sum::<f64>();
            let spread = (square / (folds.len() - 1) as f64).sqrt();
            line(&format!(
                "{} of {} folds, standard deviation {}",
                percent(mean),
                folds.len(),
                percent(spread)
            ))?;
        }
        let of_others = match (others_rejected, others) {
            (Some(share), Others::Given) => format!("{} of the others", percent(share)),
            (Some(share), _) => format!("{} of classes that were left out in turn", percent(share)),
            (None, _) => "it is not known how many others: --other gives some".into(),
        };
        line(&format!("{} of their own are none of these, and {of_others}", percent(own_rejected)))?;
        if !manifest.samples.is_empty() {
            let samples: Vec<&str> = manifest.samples.iter().map(|sample| sample.label.as_str()).collect();
            line(&format!("of the photographs these go with it, to be held to: {}", samples.join(", ")))?;
        }
        let served = if production { ", its production version" } else { "" };
        line(&format!("{} version {}{served}: {digest}", manifest.name, manifest.version))
    }
}

/// Tells the user how a run goes.
struct Watcher {
    json: bool,
    bar: Option<ProgressBar>,
    /// The layer that is fitted, and how its last epoch went.
    layer: Option<(usize, usize, usize, f64)>,
    /// The stage of a fine-tuning that the bar is of.
    stage: usize,
    /// The first line that could not be written.
    failed: Option<anyhow::Error>,
}

impl Watcher {
    fn new(json: bool) -> Self {
        Self { json, bar: None, layer: None, stage: 0, failed: None }
    }

    fn on(&mut self, event: &Event) {
        match *event {
            Event::Features { done, images } => {
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = progress::bar(images, true);
                    bar.set_message("what the backbone sees in each image");
                    bar
                });
                bar.set_position(done as u64);
                if done == images {
                    self.clear();
                }
            }
            Event::Epoch { layer, layers, epoch, epochs, loss, accuracy } => {
                if self.layer.is_some_and(|(last, ..)| last != layer) {
                    self.layer_done();
                }
                self.layer = Some((layer, layers, epoch, loss));
                let bar = self.bar.get_or_insert_with(|| progress::bar(epochs, true));
                bar.set_length(epochs as u64);
                bar.set_position(epoch as u64);
                let accuracy =
                    accuracy.map(|share| format!(", {} right", percent(share))).unwrap_or_default();
                bar.set_message(format!("layer {layer} of {layers}: loss {loss:.4}{accuracy}"));
            }
            Event::Tuning { stage, stages, done, images, loss } => {
                if self.stage != stage {
                    self.layer_done();
                    self.clear();
                    self.stage = stage;
                }
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = progress::bar(images, true);
                    // What was done before it was gone on from took none of this run's time.
                    bar.set_position(done as u64);
                    bar.reset_eta();
                    bar
                });
                bar.set_position(done as u64);
                bar.set_message(format!("fine-tuning, stage {stage} of {stages}: loss {loss:.4}"));
            }
            Event::Tuned { stage, stages, epoch, epochs, loss, check } => {
                self.layer_done();
                self.tuned((stage, stages), (epoch, epochs), loss, check);
            }
        }
    }

    /// An epoch of a fine-tuning is done.
    fn tuned(
        &mut self,
        (stage, stages): (usize, usize),
        (epoch, epochs): (usize, usize),
        loss: Option<f64>,
        check: Option<(f64, f64)>,
    ) {
        let written = if self.json {
            let (check_loss, check_accuracy) = check.unzip();
            json(&Line::Tuned { stage, stages, epoch, epochs, loss, check_loss, check_accuracy })
        } else {
            let loss = loss.map(|loss| format!("loss {loss:.4}"));
            let check = check.map(|(loss, accuracy)| {
                format!("on images kept out loss {loss:.4}, {} right", percent(accuracy))
            });
            let said: Vec<String> = loss.into_iter().chain(check).collect();
            let text = format!(
                "fine-tuning, stage {stage} of {stages}, epoch {epoch} of {epochs}: {}",
                said.join(", ")
            );
            match &self.bar {
                Some(bar) => bar.suspend(|| line(&text)),
                None => line(&text),
            }
        };
        self.failed = self.failed.take().or(written.err());
    }

    fn layer_done(&mut self) {
        let Some((layer, layers, epochs, loss)) = self.layer.take() else { return };
        self.clear();
        if self.json {
            let written = json(&Line::Layer { layer, layers, epochs, loss });
            self.failed = self.failed.take().or(written.err());
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.layer_done();
        self.clear();
        self.failed.map_or(Ok(()), Err)
    }
}
