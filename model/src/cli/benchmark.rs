//! `model benchmark`: how fast each engine computes a version on this machine, and in how much memory. Each engine has a process of
//! its own, so that its memory is its own; they take turns.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::FalseyValueParser;
use indicatif::ProgressBar;
use model::engines::{self, EngineChoice};
use model::{Device, Pixels};
use registry::{Artifact, EngineKind, ModelVersion, Precision, Registry, Select};
use serde::{Deserialize, Serialize};

use super::output::{json, line};
use super::progress;
use crate::cli::SUCCESS;

#[path = "../../benches/cpu_time/mod.rs"]
mod cpu_time;
#[path = "../../benches/instruction_set/mod.rs"]
mod instruction_set;

/// Turns of each engine at each size of batch.
const ROUNDS: usize = 5;
/// Passes in each turn, however long they take.
const LEAST_PASSES: usize = 2;

#[derive(Debug, Args)]
pub(super) struct Benchmark {
    /// The model's name [default: all models].
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Its version: a number, an alias, or `latest`; several, as 1,3, take turns.
    #[arg(
        long,
        env = "MLAAS_MODEL_VERSION",
        default_value = "production",
        value_name = "VERSIONS",
        value_delimiter = ','
    )]
    model_version: Vec<Select>,
    /// The model versions: a folder, or s3://BUCKET/PREFIX, gs://, az://.
    #[arg(long, env = "MLAAS_WEIGHTS", default_value = "weights", value_name = "FOLDER|URL")]
    weights: PathBuf,
    /// Images in a batch, one figure for each size.
    #[arg(long, env = "MLAAS_BATCH", value_delimiter = ',', default_values_t = [1, 8, 32], value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: Vec<u32>,
    /// How long each engine computes at each size of batch, in seconds of CPU time.
    #[arg(long, env = "MLAAS_SECONDS", default_value = "2.5", value_name = "N", value_parser = seconds)]
    seconds: Duration,
    /// Load TorchScript files, which are code: they may do whatever you may.
    #[arg(long, env = "MLAAS_ALLOW_TORCHSCRIPT", value_parser = FalseyValueParser::new())]
    allow_torchscript: bool,
    /// Print one JSON object for each engine and size of batch.
    #[arg(long, env = "MLAAS_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// Compute as the other process says.
    #[arg(long, hide = true)]
    arm: Option<EngineChoice>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give a number from 0.001 to 3600".to_owned())
}

/// What is asked of an arm: a line on its stdin.
#[derive(Deserialize, Serialize)]
struct Turn {
    batch: usize,
    /// Of CPU time.
    seconds: f64,
}

/// What it answers, a line on its stdout.
#[derive(Deserialize, Serialize)]
struct Turned {
    /// Images a second of CPU time.
    rate: f64,
    /// How long each pass took by the clock.
    passes_ms: Vec<f64>,
    /// What the process has grown by since before the net was loaded.
    memory_bytes: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    version: u32,
    engine: EngineKind,
    file: &'a str,
    precision: Precision,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Measured {
    Figures {
        batch: usize,
        images_per_second: f64,
        p50_ms: f64,
        memory_bytes: u64,
        instruction_set: &'static str,
    },
    Missing {
        missing: String,
    },
}

impl Benchmark {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let registry = Registry::open(&self.weights)?;
        let names = match &self.model {
            Some(model) => vec![model.clone()],
            None => registry.models()?,
        };
        let mut models: Vec<Vec<ModelVersion>> = Vec::new();
        for name in &names {
            let versions = self.model_version.iter().map(|select| registry.load(name, select));
            match versions.collect::<Result<Vec<_>, _>>() {
                Ok(versions) => models.push(versions),
                // One that is asked for by its name has to be there; of all the others are measured.
                Err(error) if self.model.is_none() => eprintln!("model: {error}"),
                Err(error) => return Err(error.into()),
            }
        }
        if models.is_empty() {
            bail!("there is no model in {} that can be measured", self.weights.display());
        }
        if let Some(engine) = self.arm {
            let version =
                models.first().and_then(|versions| versions.first()).context("an arm computes one model")?;
            return compute(version, engine, self.allow_torchscript);
        }
        if !self.json {
            line(&format!(
                "One thread, {}. Images a second of CPU time; p50 is of a batch, by the clock; memory is what one instance adds to the program.",
                instruction_set::instruction_set()
            ))?;
        }
        for versions in &models {
            self.measure(versions)?;
        }
        Ok(SUCCESS)
    }

    /// All artifacts of one model's versions.
    fn measure(&self, versions: &[ModelVersion]) -> anyhow::Result<()> {
        let numbers: Vec<String> =
            versions.iter().map(|version| version.manifest.version.to_string()).collect();
        let name = versions.first().map(|version| version.manifest.name.as_str()).unwrap_or_default();
        let title = format!("{name} version {}", numbers.join(", "));
        if !self.json {
            line(&format!("\n{title}"))?;
            line(&format!(
                "{:32} {:>9} {:>6} {:>10} {:>10} {:>12}",
                "engine", "precision", "batch", "images/s", "p50 ms", "memory MiB"
            ))?;
        }
        let several = versions.len() > 1;
        let mut arms = Vec::new();
        for version in versions {
            for artifact in &version.manifest.artifacts {
                let of = Of { version, artifact, several };
                match self.start(version, artifact)? {
                    Ok(arm) => arms.push((of, arm)),
                    Err(missing) => self.report(&of, Measured::Missing { missing })?,
                }
            }
        }
        let bar = progress::bar(arms.len() * self.batch.len() * ROUNDS, true);
        for &batch in &self.batch {
            bar.set_message(format!("{title}, batch {batch}"));
            for (at, measured) in self.compare(&mut arms, batch as usize, &bar)?.into_iter().enumerate() {
                bar.suspend(|| self.report(&arms[at].0, measured))?;
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// A process that computes with that artifact, or why there is none.
    fn start(&self, version: &ModelVersion, artifact: &Artifact) -> anyhow::Result<Result<Arm, String>> {
        let engine: EngineChoice = artifact.engine.word().parse()?;
        if let Err(unusable) = engines::choose(version, engine, Device::Cpu, self.allow_torchscript) {
            return Ok(Err(unusable.to_string()));
        }
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's file")?);
        command.args(["benchmark", &version.manifest.name, "--arm", artifact.engine.word()]);
        if self.allow_torchscript {
            command.arg("--allow-torchscript");
        }
        command.args(["--model-version", &version.manifest.version.to_string(), "--weights"]);
        command.arg(&self.weights).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start this program once more")?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a process was started without its pipes");
        };
        Ok(Ok(Arm { child, requests: Some(requests), answers: BufReader::new(answers) }))
    }

    /// All engines at one size of batch, one after the other in each round.
    fn compare(
        &self,
        arms: &mut [(Of<'_>, Arm)],
        batch: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Measured>> {
        let mut turns: Vec<Vec<Turned>> = arms.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for ((of, arm), turns) in arms.iter_mut().zip(&mut turns) {
                let turn = Turn { batch, seconds: self.seconds.as_secs_f64() / ROUNDS as f64 };
                let turned = arm.ask(&turn);
                turns.push(turned.with_context(|| format!("{} can't be measured", of.artifact.engine))?);
                bar.inc(1);
            }
        }
        let figures = |turns: Vec<Turned>| Measured::Figures {
            batch,
            images_per_second: median(turns.iter().map(|turn| turn.rate).collect()),
            memory_bytes: turns.iter().map(|turn| turn.memory_bytes).max().unwrap_or_default(),
            p50_ms: median(turns.into_iter().flat_map(|turn| turn.passes_ms).collect()),
            instruction_set: instruction_set::instruction_set(),
        };
        Ok(turns.into_iter().map(figures).collect())
    }

    fn report(&self, of: &Of<'_>, measured: Measured) -> anyhow::Result<()> {
        let (model, version) = (of.version.manifest.name.as_str(), of.version.manifest.version);
        let Artifact { engine, precision, ref file, .. } = *of.artifact;
        if self.json {
            return json(&Row { model, version, engine, file, precision, measured });
        }
        let number = if of.several { format!("{version}: ") } else { String::new() };
        let name = format!("{number}{engine}, {file}");
        match measured {
            Measured::Figures { batch, images_per_second, p50_ms, memory_bytes, .. } => {
                let memory = memory_bytes as f64 / f64::from(1 << 20);
                line(&format!(
                    "{name:32} {precision:>9} {batch:>6} {images_per_second:>10.1} {p50_ms:>10.2} {memory:>12.0}"
                ))
            }
            Measured::Missing { missing } => line(&format!("{name}: not measured: {missing}")),
        }
    }
}

/// What an arm computes with.
struct Of<'a> {
    version: &'a ModelVersion,
    artifact: &'a Artifact,
    /// Whether other versions are measured too.
    several: bool,
}

/// A process that computes when it is asked to, and ends when nobody can ask any more.
struct Arm {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Arm {
    fn ask(&mut self, turn: &Turn) -> anyhow::Result<Turned> {
        let requests = self.requests.as_mut().context("nothing more is asked")?;
        // Where it has ended, its end says more than a broken pipe: it has said why on stderr.
        let sent = writeln!(requests, "{}", serde_json::to_string(turn)?);
        let mut answer = String::new();
        if sent.is_err() || self.answers.read_line(&mut answer)? == 0 {
            bail!("its process ended early: {}", self.child.wait()?);
        }
        serde_json::from_str(&answer).context("its process answered something else")
    }
}

impl Drop for Arm {
    fn drop(&mut self) {
        // It reads to the end of its stdin.
        drop(self.requests.take());
        drop(self.child.wait());
    }
}

/// What an arm does: turns, until its stdin ends.
fn compute(version: &ModelVersion, engine: EngineChoice, allow_torchscript: bool) -> anyhow::Result<u8> {
    let before = resident()?;
    let (engine, _) = engines::choose(version, engine, Device::Cpu, allow_torchscript)?;
    let mut engine = engines::load(version, engine, Device::Cpu)?;
    let input = &version.manifest.input;
    let mut image = Pixels::black(input.size, input.channels);
    image.data.iter_mut().enumerate().for_each(|(at, value)| *value = (at * 31 / 7 % 256) as u8);
    let mut warm = 0;
    for turn in std::io::stdin().lines() {
        let Turn { batch, seconds } = serde_json::from_str(&turn?)?;
        if batch != warm {
            engine.warm_up(batch)?;
            warm = batch;
        }
        let images = vec![&image; batch];
        let slice = Duration::try_from_secs_f64(seconds)?;
        let (start, mut passes_ms) = (cpu_time::cpu_time(), Vec::new());
        while passes_ms.len() < LEAST_PASSES || cpu_time::cpu_time() - start < slice {
            let pass = Instant::now();
            std::hint::black_box(engine.logits(&images)?);
            passes_ms.push(pass.elapsed().as_secs_f64() * 1e3);
        }
        let rate = (passes_ms.len() * batch) as f64 / (cpu_time::cpu_time() - start).as_secs_f64();
        json(&Turned { rate, passes_ms, memory_bytes: resident()?.saturating_sub(before) })?;
    }
    Ok(SUCCESS)
}

/// This process's resident memory, in bytes.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.context("/proc/self/status says nothing of VmRSS")? * 1024)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
