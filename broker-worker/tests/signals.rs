//! The `worker` program and signals before it serves: whatever it is doing, it ends as it says it does, and no thread that
//! loads a net is caught by the end of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use supervisor::{Child, Ending};

/// Far longer than it takes, so that a busy machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a worker that loads is told to end.
const TRIES: u32 = 12;

/// A worker that has no broker to reach, and many instances to load.
struct Worker {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Worker {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        let inherited = std::env::vars().map(|(name, _)| name);
        for name in inherited.filter(|name| name.starts_with("MLAAS_") || name.starts_with("KAFKA_")) {
            command.env_remove(name);
        }
        command
            .args(["--weights", concat!(env!("CARGO_MANIFEST_DIR"), "/../weights")])
            .args(["--set", "models.serve=[{name: fashion-mnist}]"])
            .args(["--bootstrap-servers", "127.0.0.1:1", "--instances", "8"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = Child::start(&mut command, Ending::AtOnce).unwrap();
        let stderr = BufReader::new(child.stderr().unwrap());
        Self { child, stderr }
    }

    /// Reads what it says until that is among it.
    fn wait_for(&mut self, text: &str) {
        let mut said = String::new();
        while !said.contains(text) {
            let read = self.stderr.read_line(&mut said).unwrap();
            assert!(read > 0, "it ended without saying '{text}':\n{said}");
        }
    }

    /// Waits for its end, and says what it said meanwhile.
    fn end(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait_until(Instant::now() + PATIENCE).unwrap().expect("it does not end");
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (status, said)
    }

    fn signal(&self, signal: Signal) {
        kill(self.child.pid(), signal).unwrap();
    }
}

#[test]
fn a_signal_while_models_are_loaded_ends_the_worker_as_it_says() {
    let start = Instant::now();
    let mut worker = Worker::start();
    worker.wait_for(" warm ");
    let warm = start.elapsed();
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.end().0.code(), Some(0), "nothing was taken, so all is answered");

    for i in 0..TRIES {
        let signal = if i % 2 == 0 { Signal::SIGTERM } else { Signal::SIGINT };
        let mut worker = Worker::start();
        // Moments are what this is about: spread over all of the start.
        let moment = warm * i / TRIES;
        thread::sleep(moment);
        worker.signal(signal);
        let (status, said) = worker.end();
        let ended_as_asked = status.code() == Some(0);
        // Before it has read its configuration there is nothing to ask of it: the signal ends it.
        let at_once = status.signal() == Some(signal as i32) || status.code() == Some(128 + signal as i32);
        let at_work = said.contains("health and metrics");
        assert!(
            ended_as_asked || at_once && !at_work,
            "{signal} after {moment:?} of {warm:?}: {status}\n{said}"
        );
    }
}
