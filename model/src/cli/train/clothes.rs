//! The clothes' net from its configuration to a model version, with a bar, plain lines, or one JSON object for each epoch.

use std::path::Path;

use indicatif::ProgressBar;
use model::dataset::{DEBIAN_FASHION_MNIST, Dataset, Split};
use model::train::config::TrainConfig;
use model::train::publish::{Finished, Place, publish};
use model::train::{EpochReport, Event, Options, train};
use registry::{Author, Registry, RegistryError};
use serde::Serialize;

use super::super::output::{json, line, percent};
use super::super::progress;
use super::super::publish::PRODUCTION;
use super::Train;
use crate::cli::SUCCESS;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Epoch {
        #[serde(flatten)]
        report: &'a EpochReport,
        epochs: usize,
    },
    Stopped {
        checkpoint: &'a Path,
        done: usize,
        epochs: usize,
    },
    Published {
        model: &'a str,
        version: u32,
        folder: &'a Path,
        digest: &'a str,
        accuracy: f64,
        images: usize,
    },
}

impl Train {
    pub(super) fn clothes(self) -> anyhow::Result<u8> {
        let config = TrainConfig::read(&self.config)?;
        let folder = self.data.as_deref().unwrap_or(Path::new(DEBIAN_FASHION_MNIST));
        let device = self.device.resolve()?;
        let place = match &self.output {
            Some(path) => Place::parse(path, &config.model)?,
            None => Place::next(&self.weights, &config.model),
        };
        // Before hours of work, not after.
        let result = place.folder(&config.model);
        if result.exists() && !self.force {
            let exists = anyhow::Error::from(RegistryError::VersionExists { path: result });
            return Err(exists.context("not without --force"));
        }
        let test = Dataset::read(folder, Split::Test)?;
        let data = Dataset::read(folder, Split::Train)?;
        tch::set_num_threads(i32::from(self.threads()));

        let run = self.runs.join(&config.model);
        let options = Options {
            checkpoint: run.join("checkpoint.safetensors"),
            resume: self.resume,
            force: self.force,
            stop_after: self.stop_after,
            device: device.into(),
        };
        let mut watcher = Watcher::new(config.all_epochs(), self.json);
        let output = train(&config, &data, &options, &mut |event| watcher.on(&event))?;
        watcher.end()?;
        if !output.finished {
            let done = output.epochs.len();
            let (checkpoint, epochs) = (options.checkpoint.as_path(), config.all_epochs());
            if self.json {
                json(&Line::Stopped { checkpoint, done, epochs })?;
            } else {
                line(&format!(
                    "stopped after epoch {done} of {epochs}; --resume goes on from {}",
                    checkpoint.display()
                ))?;
            }
            return Ok(SUCCESS);
        }
        let command = format!("model train {}", self.config.display());
        let run = Finished { config: &config, output: &output, data: &data, test: &test, command: &command };
        let (version, evaluation) = publish(&run, &place, self.force)?;
        self.set_alias(&place, &config.model)?;
        if self.json {
            json(&Line::Published {
                model: &config.model,
                version: place.version,
                folder: &result,
                digest: &version.digest,
                accuracy: evaluation.accuracy,
                images: evaluation.images,
            })?;
        } else {
            line(&format!(
                "{}: {} of {} test images named right",
                result.display(),
                percent(evaluation.accuracy),
                evaluation.images
            ))?;
        }
        Ok(SUCCESS)
    }

    fn set_alias(&self, place: &Place, model: &str) -> anyhow::Result<()> {
        let registry = Registry::open(&place.root)?;
        let author = Author { by: cli::whoami(), reason: Some("trained".into()), evidence: None };
        if self.promote {
            registry.promote(model, PRODUCTION, place.version, &author, None)?;
        } else {
            registry.promote_first(model, PRODUCTION, place.version, &author)?;
        }
        Ok(())
    }
}

/// Tells the user how a run goes.
struct Watcher {
    epochs: usize,
    json: bool,
    bar: Option<ProgressBar>,
    /// The first line that could not be written.
    failed: Option<anyhow::Error>,
}

impl Watcher {
    fn new(epochs: usize, json: bool) -> Self {
        Self { epochs, json, bar: None, failed: None }
    }

    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Step { epoch, done, total, loss, accuracy } => {
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = progress::bar(*total, true);
                    // A resumed run has not done the earlier steps at this speed.
                    bar.set_position(*done as u64);
                    bar.reset_eta();
                    bar
                });
                bar.set_position(*done as u64);
                let epochs = self.epochs;
                bar.set_message(format!(
                    "epoch {epoch}/{epochs}: loss {loss:.4}, accuracy {}",
                    percent(*accuracy)
                ));
            }
            Event::Epoch(report) => {
                let written = self.report(report);
                self.failed = self.failed.take().or(written.err());
            }
        }
    }

    fn report(&self, report: &EpochReport) -> anyhow::Result<()> {
        let epochs = self.epochs;
        if self.json {
            return self.suspended(|| json(&Line::Epoch { report, epochs }));
        }
        let text = format!(
            "epoch {}/{epochs}: loss {:.4}, accuracy {}, validation {}{}, {:.0} s",
            report.epoch,
            report.loss,
            percent(report.accuracy),
            percent(report.validation_accuracy),
            if report.best { " (best)" } else { "" },
            report.seconds
        );
        self.suspended(|| line(&text))
    }

    fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn end(self) -> anyhow::Result<()> {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.failed.map_or(Ok(()), Err)
    }
}
