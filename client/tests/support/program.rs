//! The executable, and what it said.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use kafka::EmbeddedBroker;
use serde_json::Value;

/// The executable in a folder of its own, with nothing of the caller's environment that concerns it.
pub fn client(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    for (name, _) in std::env::vars() {
        if name.starts_with("MLAAS_") || name.starts_with("KAFKA_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir)
        .env("MLAAS_RUNTIME_DIR", dir.join("run"))
        .env("XDG_CONFIG_HOME", dir.join("config"));
    command.stdin(Stdio::null());
    command
}

pub fn at(broker: &EmbeddedBroker, dir: &Path, args: &[&str]) -> Command {
    let mut command = client(dir);
    command.env("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers()).args(args);
    command
}

pub fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
pub fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// Each line of stdout as JSON.
#[track_caller]
pub fn objects(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

pub fn folder(files: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("images")).unwrap();
    for n in 0..files {
        std::fs::write(dir.path().join(format!("images/{n:04}.png")), format!("image {n:04}")).unwrap();
    }
    dir
}

/// A `listen` whose positions are known: it said so.
pub struct Listening(pub Child);

impl Listening {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        Self(child)
    }

    pub fn finish(&mut self) -> (Vec<String>, Option<i32>) {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        (lines, self.0.wait().unwrap().code())
    }
}
