//! `make compose-test`: docker-compose.yml with two workers, asked from the host and from a container, and taken down.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    process,
    progress::step,
    setup::{self, Part},
    system::Purpose,
    workspace::Workspace,
};

const WORKERS: usize = 2;
/// For Kafka, the topics and the workers to come up.
const UP_DEADLINE: Duration = Duration::from_secs(180);
/// The image, its model and the label that must come back.
const SHOWN: [(&str, &str, &str); 2] = [
    ("data/samples/sandal5.png", "fashion-mnist", "sandal"),
    ("data/samples/scarlet_macaw.webp", "bird", "macaw"),
];

/// Runs the whole of it. What was brought up is taken down on every path.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Demo, &[Part::System, Part::Weights])?;
    let stack = Stack::new(workspace)?;
    step("client for the host", || {
        let mut cargo = process::cargo(workspace.root());
        process::run(cargo.args(["build", "--locked", "--release", "--package", "client", "--bins"]))
    })?;
    step("image (long the first time)", || process::run(&mut stack.compose(&["build", "worker"])))?;
    step(&format!("Kafka and {WORKERS} workers"), || {
        process::run(&mut stack.compose(&["up", "--detach", "--scale", &format!("worker={WORKERS}")]))
    })?;
    let asked = ask_everywhere(workspace, &stack);
    if asked.is_err() {
        stack.show_logs();
    }
    let down = stack.down();
    asked?;
    down
}

fn ask_everywhere(workspace: &Workspace, stack: &Stack) -> Result<()> {
    step("each worker is ready", || {
        for number in 1..=WORKERS {
            let index = number.to_string();
            eventually(|| {
                process::output(&mut stack.compose(&[
                    "exec",
                    "-T",
                    "--index",
                    &index,
                    "worker",
                    "healthcheck",
                ]))
                .map(|_| ())
            })
            .with_context(|| format!("worker {number} is not ready"))?;
        }
        Ok(())
    })?;
    step("asked from the host", || {
        let client = workspace.target().join("release/client");
        let servers = format!("127.0.0.1:{}", stack.port);
        for (image, model, label) in SHOWN {
            let mut command = Command::new(&client);
            command
                .current_dir(workspace.root())
                .args(["send", "--wait", "--json", "--timeout", "60s", "--model", model, image])
                .env("KAFKA_BOOTSTRAP_SERVERS", &servers);
            named(&process::output(&mut command)?, label)?;
        }
        Ok(())
    })?;
    step("asked from a container", || {
        for (image, model, label) in SHOWN {
            let arguments = ["--profile", "client", "run", "--rm", "-T", "client"];
            let asking = ["send", "--wait", "--json", "--timeout", "60s", "--model", model, image];
            let text = process::output(stack.compose(&arguments).args(asking))?;
            named(&text, label)?;
        }
        Ok(())
    })
}

/// Checks one line of `client send --wait --json`, and shows it in short.
fn named(text: &str, label: &str) -> Result<()> {
    let line = text.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let answer: Value = serde_json::from_str(line).with_context(|| format!("no answer in: {text}"))?;
    let found = answer["label"].as_str().unwrap_or_default();
    if !found.eq_ignore_ascii_case(label) {
        bail!("{} was named \"{found}\", not \"{label}\"", answer["file"]);
    }
    println!(
        "{}: {found} ({})",
        answer["file"].as_str().unwrap_or("?"),
        answer["worker"].as_str().unwrap_or("?")
    );
    Ok(())
}

/// Tries until it works, or for so long that it never will.
fn eventually(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + UP_DEADLINE;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {
                process::check_interrupt()?;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

/// The compose project of this run, apart from one that the user has up. Dropping it takes it down.
struct Stack {
    program: &'static [&'static str],
    root: PathBuf,
    project: String,
    port: u16,
    up: bool,
}

impl Stack {
    fn new(workspace: &Workspace) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let project = format!("mlaas-test-{}", std::process::id());
        Ok(Self { program: engine()?, root: workspace.root().to_owned(), project, port, up: true })
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program[0]);
        command
            .args(&self.program[1..])
            .args(["--project-name", &self.project])
            .args(arguments)
            .current_dir(&self.root)
            .env("KAFKA_PORT", self.port.to_string());
        command
    }

    fn show_logs(&self) {
        eprintln!("the end of each log:");
        if let Err(error) = process::run(&mut self.compose(&["logs", "--tail", "20"])) {
            eprintln!("{error:#}");
        }
    }

    fn down(mut self) -> Result<()> {
        step("taken down", || self.take_down())
    }

    /// Also after Ctrl-C, so without the guard that refuses to start programs then.
    fn take_down(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.up, false) {
            return Ok(());
        }
        let output = self.compose(&["down", "--volumes"]).output().context("can't start compose")?;
        if !output.status.success() {
            bail!(
                "compose could not take {} down: {}",
                self.project,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("error: {error:#}");
        }
    }
}

/// The compose program of this machine: docker's where its engine runs, else podman's.
fn engine() -> Result<&'static [&'static str]> {
    let docker = process::succeeds(Command::new("docker").arg("info"))
        && process::succeeds(Command::new("docker").args(["compose", "version"]));
    if docker {
        return Ok(&["docker", "compose"]);
    }
    if process::which("podman").is_some() && process::which("podman-compose").is_some() {
        return Ok(&["podman-compose"]);
    }
    bail!("neither docker with its compose plugin, nor podman with podman-compose, works here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_label_is_refused() {
        let line = r#"{"file":"a.png","label":"Sandal","worker":"w"}"#;
        assert!(named(line, "sandal").is_ok());
        assert_eq!(
            named(line, "macaw").unwrap_err().to_string(),
            "\"a.png\" was named \"Sandal\", not \"macaw\""
        );
        assert!(named("", "macaw").is_err());
    }

    #[test]
    fn topics_take_what_workers_take() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
        let topics = read("kafka/src/lib.rs");
        let line = topics.lines().find(|line| line.contains("TOPIC_MAX_MESSAGE_BYTES: usize")).unwrap();
        assert!(line.ends_with("= 12 << 20;"), "docker-compose.yml holds this number too: {line}");
        assert_eq!(read("docker-compose.yml").matches("max.message.bytes=12582912").count(), 2);
    }
}
