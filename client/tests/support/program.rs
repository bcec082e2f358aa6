//! The executable, and what it said.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use kafka::EmbeddedBroker;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::PATIENCE;

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

/// Runs it to its end, which has to come within the limit.
pub fn run(command: &mut Command) -> Output {
    output_of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// The same for one that runs already.
pub fn output_of(child: Child) -> Output {
    within_limit(child.id(), move || child.wait_with_output().unwrap())
}

/// What waits for that program's end. Where that does not come, it is ended, and the test with it.
fn within_limit<T: Send + 'static>(pid: u32, wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(wait()).ok());
    ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        panic!("the program did not end within {PATIENCE:?}")
    })
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
        let stdout = BufReader::new(self.0.stdout.take().unwrap());
        let lines = within_limit(self.0.id(), || stdout.lines().map(Result::unwrap).collect());
        (lines, self.0.wait().unwrap().code())
    }
}
