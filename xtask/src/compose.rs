//! `make compose-test`: docker-compose.yml with two workers, asked from the host and from a container, and taken down.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
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
/// For one look at whether a worker is ready.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
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
        let workers = process::output(&mut stack.list(Some("worker")))?;
        let workers: Vec<_> = workers.split_whitespace().collect();
        if workers.len() != WORKERS {
            bail!("{} workers were started, not {WORKERS}", workers.len());
        }
        for worker in workers {
            let check = || {
                let mut healthcheck = stack.engine.command();
                process::output_within(healthcheck.args(["exec", worker, "healthcheck"]), CHECK_LIMIT)
                    .map(drop)
            };
            eventually(check).with_context(|| format!("worker {worker} is not ready"))?;
        }
        Ok(())
    })?;
    step("asked from the host", || {
        let client = workspace.target().join("release/client");
        let servers = format!("127.0.0.1:{}", stack.ports.kafka);
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
    step("asked by HTTP", || {
        eventually(|| http(stack.ports.http, "GET", "/readyz", &[]).map(drop))
            .context("no gateway is ready")?;
        for (image, model, label) in SHOWN {
            let file = std::fs::read(workspace.root().join(image)).with_context(|| image.to_owned())?;
            let answer = http(stack.ports.http, "POST", &format!("/predict?model={model}"), &file)?;
            let answer: Value =
                serde_json::from_str(&answer).with_context(|| format!("no answer in: {answer}"))?;
            is_named(image, &answer, label)?;
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
    is_named(answer["file"].as_str().unwrap_or("?"), &answer, label)
}

fn is_named(image: &str, answer: &Value, label: &str) -> Result<()> {
    let found = answer["label"].as_str().unwrap_or_default();
    if !found.eq_ignore_ascii_case(label) {
        bail!("\"{image}\" was named \"{found}\", not \"{label}\"");
    }
    println!("{image}: {found} ({})", answer["worker"].as_str().unwrap_or("?"));
    Ok(())
}

/// What the gateway answers with 200.
fn http(port: u16, method: &str, path: &str, body: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("the gateway can't be reached")?;
    stream.set_read_timeout(Some(UP_DEADLINE))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) != Some("200") {
        bail!("the gateway answered: {answer}");
    }
    Ok(body.to_owned())
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
    engine: Engine,
    root: PathBuf,
    project: String,
    ports: Ports,
    up: bool,
}

/// Free ones of this host.
struct Ports {
    kafka: u16,
    http: u16,
    grpc: u16,
}

impl Stack {
    fn new(workspace: &Workspace) -> Result<Self> {
        // All open at once, so that each is another.
        let [kafka, http, grpc] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let port =
            |listener: std::io::Result<TcpListener>| listener?.local_addr().map(|address| address.port());
        let ports = Ports { kafka: port(kafka)?, http: port(http)?, grpc: port(grpc)? };
        let project = format!("mlaas-test-{}", std::process::id());
        Ok(Self { engine: engine()?, root: workspace.root().to_owned(), project, ports, up: true })
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let (program, first) = self.engine.compose;
        let mut command = Command::new(program);
        command
            .args(first)
            .args(["--project-name", &self.project])
            .args(arguments)
            .current_dir(&self.root)
            .env("KAFKA_PORT", self.ports.kafka.to_string())
            .env("GATEWAY_PORT", self.ports.http.to_string())
            .env("GATEWAY_GRPC_PORT", self.ports.grpc.to_string())
            // Podman's own format has no health checks.
            .env("BUILDAH_FORMAT", "docker");
        command
    }

    /// Lists the ids of the project's containers, or of one service's. Podman's compose can't: it knows the first of each.
    fn list(&self, service: Option<&str>) -> Command {
        let mut command = self.engine.command();
        command.args(["ps", "--all", "--quiet"]);
        for (label, value) in [("project", Some(self.project.as_str())), ("service", service)] {
            if let Some(value) = value {
                command.args(["--filter", &format!("label=com.docker.compose.{label}={value}")]);
            }
        }
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
        // First all workers: podman's compose takes down only the first container of a service, and leaves behind what
        // the others depend on.
        let workers = said(&mut self.list(Some("worker")))?;
        if !workers.is_empty() {
            for act in ["stop", "rm"] {
                said(self.engine.command().arg(act).args(workers.split_whitespace()))?;
            }
        }
        said(&mut self.compose(&["down", "--volumes"]))?;
        let left = said(&mut self.list(None))?;
        if !left.is_empty() {
            bail!("compose left containers of {} behind: {left}", self.project);
        }
        Ok(())
    }
}

/// What a program says, interrupted or not.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("can't start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("error: {error:#}");
        }
    }
}

/// A container engine.
struct Engine {
    program: &'static str,
    /// Its compose program and that one's first arguments.
    compose: (&'static str, &'static [&'static str]),
}

impl Engine {
    fn command(&self) -> Command {
        Command::new(self.program)
    }
}

/// That of this machine: docker where it runs, else podman.
fn engine() -> Result<Engine> {
    let docker = process::succeeds(Command::new("docker").arg("info"))
        && process::succeeds(Command::new("docker").args(["compose", "version"]));
    if docker {
        return Ok(Engine { program: "docker", compose: ("docker", &["compose"]) });
    }
    if process::which("podman").is_some() && process::which("podman-compose").is_some() {
        return Ok(Engine { program: "podman", compose: ("podman-compose", &[]) });
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

    /// What the Dockerfile makes of Cargo.toml before any other crate is there has to be a workspace.
    #[test]
    fn the_image_begins_with_xtask_alone() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let dockerfile = std::fs::read_to_string(root.join("Dockerfile")).unwrap();
        let line = dockerfile.lines().find(|line| line.contains("sed -i")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut copy = Command::new("cp");
        process::run(copy.current_dir(&root).args(["-r", "Cargo.toml", "xtask"]).arg(folder.path())).unwrap();
        let sed = line.trim().trim_end_matches('\\');
        process::run(Command::new("sh").current_dir(folder.path()).args(["-c", sed])).unwrap();
        let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
        let metadata = process::output(process::cargo(folder.path()).args(arguments)).unwrap();
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        let packages = metadata["packages"].as_array().unwrap().iter().map(|package| &package["name"]);
        assert_eq!(packages.collect::<Vec<_>>(), ["xtask", "supervisor"]);
    }

    #[test]
    fn topics_are_made_as_workers_make_them() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
        let topics = read("kafka/src/lib.rs");
        let line = topics.lines().find(|line| line.contains("TOPIC_MAX_MESSAGE_BYTES: usize")).unwrap();
        assert!(line.ends_with("= 12 << 20;"), "docker-compose.yml holds this number too: {line}");
        let compose = read("docker-compose.yml");
        assert_eq!(compose.matches("max.message.bytes=12582912").count(), 3);
        // Announcements, in the words in which a worker makes their topic.
        let specs = read("kafka/src/topics.rs");
        for (spec, key, value) in [
            ("(\"segment.ms\", \"300000\")", "segment.ms", "300000"),
            ("soon_gone(\"1800000\")", "retention.ms", "1800000"),
            ("soon_gone(\"3600000\")", "retention.ms", "3600000"),
        ] {
            assert!(specs.contains(spec), "kafka/src/topics.rs: {spec}");
            assert!(compose.contains(&format!("--config {key}={value}")), "docker-compose.yml: {key}");
        }
        for file in [&specs, &compose] {
            assert!(file.contains("compact,delete"));
        }
    }
}
