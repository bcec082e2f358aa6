//! The executable: what it says, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{self, PATIENCE, broker};

/// The executable in a folder of its own, with nothing of the caller's environment that concerns it.
fn gateway(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    for (name, _) in std::env::vars() {
        if name.starts_with("MLAAS_") || name.starts_with("KAFKA_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).env("MLAAS_RUNTIME_DIR", dir.join("run"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = gateway(dir).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// One that runs, ended when dropped.
struct Process {
    child: Child,
    http: String,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .args(["--http-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", "--log-format=json"])
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["event"], "ready", "{line}");
        Self { child, http: ready["http"].as_str().unwrap().to_owned() }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    async fn ready(&self) {
        support::eventually("it is ready", async || {
            support::http::ask(&self.http, "GET", "/readyz", &[], b"").await.status == 200
        })
        .await;
    }

    /// Its exit code, and what it logged.
    async fn end(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut log = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
                return (status.code(), log);
            }
            assert!(Instant::now() < end, "it does not end");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only where it has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn what_is_configured_is_shown_and_what_is_wrong_ends_it_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let (code, shown, _) = run(dir.path(), &["--check-config", "--set", "kafka.sasl_password=hunter2"]);
    assert_eq!(code, 0);
    assert!(shown.contains("[redacted]") && !shown.contains("hunter2"), "{shown}");
    for (args, said) in [
        (&["--http-listen", "0.0.0.0:80"][..], "http.listen is 0.0.0.0:80, which others can reach"),
        (&["--grpc-listen", "[::]:80"], "grpc.listen is [::]:80, which others can reach"),
        (&["--set", "http.lisen=x"], "lisen"),
        (&["--name", "a/b"], "name must be"),
        (&["--config", "nowhere.yaml"], "nowhere.yaml"),
        (&["--what"], "--what"),
    ] {
        let (code, stdout, stderr) = run(dir.path(), args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let (code, shown, _) = run(
        dir.path(),
        &["--check-config", "--http-listen=0.0.0.0:80", "--set", "http.allow_unauthenticated=true"],
    );
    assert_eq!(code, 0);
    assert!(shown.contains("listen: 0.0.0.0:80"), "{shown}");
    let (code, script, _) = run(dir.path(), &["completions", "bash"]);
    assert!(code == 0 && script.contains("--grpc-listen"));
}

#[test]
fn keys_are_not_made_on_an_embedded_broker_and_what_is_typed_wrongly_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(1);
    let named = ["--bootstrap-servers", broker.bootstrap_servers()];
    let create = ["keys", "create", "--name", "a", "--scope", "predict"];
    for (args, code, said) in [
        (&create[..], 2, "keys need a real Kafka"),
        (&[&create[..], &named].concat(), 2, "keys need a real Kafka"),
        (&[&["keys", "list"][..], &named].concat(), 2, "keys need a real Kafka"),
        (&["keys", "revoke", "a", "--bootstrap-servers", "127.0.0.1:1"], 3, "127.0.0.1:1"),
        (&["keys", "create", "--name", "a", "--scope", "all"], 2, "predict, read, promote or review"),
        (&[&create[..], &["--expires", "soon"]].concat(), 2, "90days"),
        (&[&create[..], &["--model", "../x"]].concat(), 2, "no model is named"),
        (&["--set", "auth.required=true"], 2, "keys need a real Kafka"),
    ] {
        let (exit, stdout, stderr) = run(dir.path(), args);
        assert_eq!((exit, stdout.as_str()), (code, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    assert_eq!(client::double::records(&broker.broker(), "predict.keys").unwrap(), 0);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(dir.path(), &["--http-listen", &address]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&format!("http.listen {address} can't be used")), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_joins_a_worker_s_embedded_broker_and_ends_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(gateway(dir.path()));
    support::eventually("it says what it waits for", async || {
        let answer = support::http::ask(&process.http, "GET", "/readyz", &[], b"").await;
        answer.status == 503 && answer.text().contains("start `worker`")
    })
    .await;
    // One comes, goes, and another comes.
    for _ in 0..2 {
        let broker = broker(1);
        let published = published(dir.path(), broker);
        let worker = support::echo(&published);
        process.ready().await;
        let headers = [("content-type", "image/png"), ("x-request-id", "seen-in-the-log")];
        let answer = support::http::ask(&process.http, "POST", "/predict", &headers, b"raw").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        drop((worker, published));
        support::eventually("it hears that the broker is gone", async || {
            support::http::ask(&process.http, "GET", "/readyz", &[], b"").await.status == 503
        })
        .await;
    }
    process.signal(Signal::SIGTERM);
    let (code, log) = process.end().await;
    assert_eq!(code, Some(0), "{log}");
    let line = log.lines().find(|line| line.contains("seen-in-the-log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["path"], &line["status"]), (&"/predict".into(), &"200".into()), "{line}");
}

fn published(dir: &Path, broker: kafka::EmbeddedBroker) -> kafka::EmbeddedBroker {
    let mut broker = broker;
    broker.publish_in(&kafka::RuntimeDir::at(dir.join("run"))).unwrap();
    broker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(1);
    let worker = support::silent(&broker);
    let mut command = gateway(dir.path());
    command.env("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers());
    let process = Process::start(command);
    process.ready().await;
    let mut connection = support::http::Connection::open(&process.http).await;
    connection
        .send(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 3\r\n\r\nraw")
        .await;
    support::eventually("the request is there", async || support::requests(&broker) == 1).await;
    process.signal(Signal::SIGINT);
    support::eventually("it is ending", async || {
        let mut ready = support::http::Connection::open(&process.http).await;
        ready.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        ready.head().await.is_none_or(|head| head.status == 503)
    })
    .await;
    process.signal(Signal::SIGTERM);
    let (code, log) = process.end().await;
    assert_eq!(code, Some(143), "{log}");
    drop(worker);
}
