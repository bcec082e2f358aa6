//! `make demo`: two workers on an embedded broker name real images for both models.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    process::{self, Running},
    progress::{seconds, step},
    setup,
    system::Purpose,
    workspace::Workspace,
};

/// Long enough for a slow disk to load two nets for the first time.
const READY_DEADLINE: Duration = Duration::from_secs(120);

/// What is sent, and what must come back.
struct Shown {
    model: &'static str,
    image: &'static str,
    label: &'static str,
}

const SHOWN: &[Shown] = &[
    Shown { model: "fashion-mnist", image: "sandal5.png", label: "sandal" },
    Shown { model: "fashion-mnist", image: "trouser1.png", label: "trouser" },
    Shown { model: "fashion-mnist", image: "bag8.png", label: "bag" },
    Shown { model: "bird", image: "scarlet_macaw.webp", label: "macaw" },
    Shown { model: "bird", image: "hen.webp", label: "hen" },
];

/// One answer, ready for the table.
struct Row {
    image: String,
    model: String,
    label: String,
    probability: f64,
    latency_ms: f64,
    worker: String,
}

/// Sets up, builds, shows, and leaves nothing running.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Demo, &[])?;
    step("build in release (some minutes the first time)", || {
        let mut cargo = process::cargo(workspace.root());
        // `model` too: the README's next steps call it.
        let programs = ["broker-worker", "client", "model"].into_iter().flat_map(|name| ["--package", name]);
        process::run(cargo.args(["build", "--locked", "--release", "--bins"]).args(programs))
    })?;
    let bin = workspace.target().join("release");
    // Its own folder for the broker's address, so that a broker that the user runs is not disturbed.
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let workers = step("embedded broker and two workers of one group", || {
        ["worker-1", "worker-2"]
            .map(|name| start_worker(workspace, &bin, folder.path(), name))
            .into_iter()
            .collect::<Result<Vec<_>>>()
    })?;
    let rows = step("images sent over Kafka, answers awaited", || {
        let mut rows = Vec::new();
        for model in ["fashion-mnist", "bird"] {
            rows.extend(ask(workspace, &bin, folder.path(), model)?);
        }
        Ok(rows)
    })?;
    for worker in workers.into_iter().rev() {
        if !worker.stop()? {
            eprintln!("a worker did not end when it was asked to, and was killed");
        }
    }
    print!("\n{}", table(&rows));
    verify(&rows)
}

/// A program of ours, in the checkout, deaf to the user's own configuration.
fn program(workspace: &Workspace, bin: &Path, folder: &Path, name: &str) -> Command {
    let mut command = Command::new(bin.join(name));
    for (variable, _) in std::env::vars_os() {
        let ours = variable.to_string_lossy().starts_with("MLAAS_");
        if ours || variable == "KAFKA_BOOTSTRAP_SERVERS" {
            command.env_remove(variable);
        }
    }
    command.current_dir(workspace.root()).env("MLAAS_RUNTIME_DIR", folder).stdin(Stdio::null());
    command.env("XDG_CONFIG_HOME", folder.join("config"));
    command
}

/// Starts a worker and waits until it says that it is ready. Its log is kept, to be shown if it fails.
fn start_worker(workspace: &Workspace, bin: &Path, folder: &Path, name: &str) -> Result<Running> {
    let log = folder.join(format!("{name}.log"));
    let mut command = program(workspace, bin, folder, "worker");
    command
        .args(["--name", name, "--instances", "1", "--http-listen", "127.0.0.1:0", "--log-format", "json"])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log)?);
    let mut worker = Running::start(&mut command)?;
    let stdout = worker.stdout().context("no pipe to the worker")?;
    match await_ready(stdout) {
        Ok(()) => Ok(worker),
        Err(error) => {
            drop(worker);
            process::check_interrupt()?;
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<_> = text.lines().rev().take(10).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            bail!("{name} {error}; the end of its log:\n{}", tail.join("\n"))
        }
    }
}

/// Reads a worker's standard output until its ready line, and goes on reading so that the pipe never fills.
fn await_ready(stdout: std::process::ChildStdout) -> Result<()> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _after_ready = sender.send(line);
        }
    });
    let deadline = Instant::now() + READY_DEADLINE;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if event["event"] == "ready" {
                    return Ok(());
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("was not ready after {}", seconds(READY_DEADLINE))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("ended before it was ready"),
        }
    }
}

/// Sends the images of one model and waits for the answers.
fn ask(workspace: &Workspace, bin: &Path, folder: &Path, model: &str) -> Result<Vec<Row>> {
    let samples = Path::new("data/samples");
    let images: Vec<PathBuf> =
        SHOWN.iter().filter(|shown| shown.model == model).map(|shown| samples.join(shown.image)).collect();
    let mut client = program(workspace, bin, folder, "client");
    client.args(["send", "--wait", "--json", "--timeout", "60s", "--model", model]).args(&images);
    let text = process::output(&mut client)?;
    let mut rows = text.lines().map(read_row).collect::<Result<Vec<_>>>()?;
    // They come in the order of the answers.
    rows.sort_by_key(|row| SHOWN.iter().position(|shown| shown.image == row.image));
    if rows.len() != images.len() {
        bail!("{} images were sent to {model} and {} answers came:\n{text}", images.len(), rows.len());
    }
    Ok(rows)
}

/// Reads one line of `client send --wait --json`.
fn read_row(line: &str) -> Result<Row> {
    let problem = || format!("the client answered with an unknown line: {line}");
    let answer: Value = serde_json::from_str(line).with_context(problem)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let best = &answer["predictions"][0];
    let row = || {
        Some(Row {
            image: Path::new(answer["file"].as_str()?).file_name()?.to_str()?.to_owned(),
            model: text(&answer["model"]["name"])?,
            label: text(&best["label"])?,
            probability: best["probability"].as_f64()?,
            latency_ms: answer["latency_ms"].as_f64()?,
            worker: text(&answer["worker"])?,
        })
    };
    row().with_context(problem)
}

/// The table for people.
fn table(rows: &[Row]) -> String {
    let head = ["image", "model", "label", "probability", "latency", "worker"].map(str::to_owned);
    let body = rows.iter().map(|row| {
        [
            row.image.clone(),
            row.model.clone(),
            row.label.clone(),
            format!("{:.1} %", row.probability * 100.0),
            format!("{:.1} ms", row.latency_ms),
            row.worker.clone(),
        ]
    });
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(body).collect();
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<_> = line
            .iter()
            .zip(widths)
            .enumerate()
            // Numbers stand to the right.
            .map(|(column, (cell, width))| {
                if column == 3 || column == 4 { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        if number == 0 {
            text.push_str(&widths.map(|width| "-".repeat(width)).join("  "));
            text.push('\n');
        }
    }
    text
}

/// A sandal must be named a sandal and a macaw a macaw.
fn verify(rows: &[Row]) -> Result<()> {
    for Shown { image, label, .. } in SHOWN {
        let row = rows
            .iter()
            .find(|row| row.image == *image)
            .with_context(|| format!("no answer came for {image}"))?;
        if !row.label.eq_ignore_ascii_case(label) {
            bail!("{image} was named \"{}\", not \"{label}\"", row.label);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(image: &str, label: &str) -> Row {
        Row {
            image: image.to_owned(),
            model: "bird".to_owned(),
            label: label.to_owned(),
            probability: 0.987,
            latency_ms: 12.34,
            worker: "worker-1".to_owned(),
        }
    }

    #[test]
    fn a_wrong_label_fails_the_demo() {
        let mut rows: Vec<_> = SHOWN.iter().map(|shown| row(shown.image, shown.label)).collect();
        assert!(verify(&rows).is_ok());
        rows[0].label = "Bag".to_owned();
        assert_eq!(verify(&rows).unwrap_err().to_string(), "sandal5.png was named \"Bag\", not \"sandal\"");
        assert_eq!(verify(&rows[1..]).unwrap_err().to_string(), "no answer came for sandal5.png");
    }

    #[test]
    fn columns_line_up() {
        let text = table(&[row("a.png", "hen"), row("longer-name.webp", "owl")]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let column = lines[0].find("label").unwrap();
        assert_eq!(&lines[2][column..column + 3], "hen");
        assert_eq!(&lines[3][column..column + 3], "owl");
        assert!(lines[2].contains("98.7 %") && lines[2].contains("12.3 ms"));
    }

    #[test]
    fn every_image_shown_ships() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/samples");
        for shown in SHOWN {
            assert!(samples.join(shown.image).is_file(), "{} is missing", shown.image);
        }
    }
}
