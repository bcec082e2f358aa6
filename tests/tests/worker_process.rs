//! `worker` as a process: what it says about its configuration, its exit codes, its signals, its health in each state, and
//! ways of joining a group, of queueing and of connecting that a unit test does not see.

use std::time::Duration;

use e2e::account::{Account, Expect};
use e2e::apache::{Access, Mechanism, Setup};
use e2e::images::clothes;
use e2e::layout::Layout;
use e2e::process::{Finished, Process};
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::Stream;
use e2e::traffic::Record;
use e2e::{PATIENCE, wait_until};
use nix::sys::signal::Signal;
use wire::{ErrorCode, Outcome, Response};

use crate::FASHION_ONLY;
use crate::http::get;

fn run(scene: &Scene, arguments: &[&str]) -> Finished {
    let mut command = scene.command("worker");
    command.args(arguments);
    Process::run("worker", command, PATIENCE)
}

#[test]
fn check_config_prints_what_holds_and_starts_nothing() {
    let scene = Scene::without_broker();
    let mut command = scene.command("worker");
    command
        .args(["--check-config", "--name", "checked", "--set", "top_k=7"])
        .env("MLAAS_KAFKA__SASL_PASSWORD", "not to be seen")
        .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let done = Process::run("worker", command, PATIENCE);
    assert_eq!(done.code, Some(0), "{done:?}");
    for line in ["name: checked", "top_k: 7", "bootstrap_servers: 127.0.0.1:1"] {
        assert!(done.stdout.contains(line), "{line}: {done:?}");
    }
    assert!(!done.stdout.contains("not to be seen"), "{done:?}");
    // What it prints is a configuration.
    let file = scene.folder.join("printed.yaml");
    let text =
        done.stdout.lines().filter(|line| !line.contains("sasl_password")).collect::<Vec<_>>().join("\n");
    std::fs::write(&file, text).unwrap();
    let again = run(&scene, &["--check-config", "--config", file.to_str().unwrap()]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("name: checked"), "{again:?}");
}

#[test]
fn each_fault_has_its_exit_code_and_its_sentence() {
    let scene = Scene::without_broker();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let faults: [(&[&str], i32, &str); 6] = [
        (&["--no-such-flag"], 2, "--no-such-flag"),
        (&["--check-config", "--set", "batching.size=4"], 2, "batching.size"),
        (&["--check-config", "--max-batch-size", "many"], 2, "--max-batch-size"),
        (&["--config", "/nowhere/worker.yaml"], 2, "/nowhere/worker.yaml"),
        (&["--weights", "/nowhere"], 1, "/nowhere"),
        (&["--http-listen", &taken], 1, &taken),
    ];
    for (arguments, code, words) in faults {
        let done = run(&scene, arguments);
        assert_eq!(done.code, Some(code), "{arguments:?}: {done:?}");
        assert!(done.stderr.contains(words), "{arguments:?}: {done:?}");
        assert!(!done.stderr.contains("panicked"), "{arguments:?}: {done:?}");
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
    let help = run(&scene, &["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Exit codes"), "{help:?}");
}

/// Where it serves health, as its log says before it is ready.
fn http_of(worker: &Process) -> String {
    wait_until("the address for health in the log", PATIENCE, || {
        let read = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["http"].as_str().map(str::to_owned)
        };
        worker.stderr.find(read).ok_or_else(|| "not yet".to_owned())
    })
}

/// Waits until `/readyz` says no, with those words.
fn not_ready(http: &str, words: &str) {
    wait_until(&format!("'{words}' from /readyz"), PATIENCE, || match get(http, "/readyz") {
        (503, body) if body.contains(words) => Ok(()),
        (code, body) => Err(format!("{code} {body}")),
    });
    assert_eq!(get(http, "/livez").0, 200, "it waits, and need not be started anew");
}

/// Before it is ready: no broker, then a group that keeps it waiting; each said, and none of it a reason to restart.
#[test]
fn readiness_says_what_is_waited_for() {
    let mut scene = Scene::on(Kind::Kafka);
    let servers = std::mem::replace(&mut scene.access.bootstrap_servers, "127.0.0.1:1".to_owned());
    let mut alone = Process::spawn("worker alone", scene.worker_command("alone", FASHION_ONLY));
    not_ready(&http_of(&alone), "broker");
    alone.signal(Signal::SIGTERM);
    assert_eq!(alone.wait(PATIENCE).code(), Some(0), "it took nothing, so nothing is left undone");

    scene.access.bootstrap_servers = servers;
    let first = scene.worker("first", FASHION_ONLY);
    let http = first.http();
    assert_eq!((get(http, "/readyz").0, get(http, "/livez").0), (200, 200));
    // A member that does not answer holds the group up until its session is over.
    let frozen = first.process.freeze();
    let second = Process::spawn("worker second", scene.worker_command("second", FASHION_ONLY));
    not_ready(&http_of(&second), "group");
    frozen.thaw();
    let second = Worker::ready(second);
    assert_eq!(get(second.http(), "/readyz").0, 200);
}

/// It can't answer what it holds, since the broker is away: the first signal has it wait, a second one ends it at once.
#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let scene = Scene::on(Kind::Embedded);
        let holds = "--set=batching.max_queue_delay_microseconds=60000000";
        let mut worker = scene.worker("w1", &[FASHION_ONLY, &[holds, "--max-batch-size=100"]].concat());
        let http = worker.http().to_owned();
        let sample = clothes().remove(0);
        drop(scene.sender().send(&[Record::bytes("held", sample.bytes)]));
        wait_until("the request in the worker", PATIENCE, || {
            let metrics = get(&http, "/metrics").1;
            let pending = metrics.lines().any(|l| l.starts_with("nv_inference_pending") && l.ends_with(" 1"));
            if pending { Ok(()) } else { Err("not there".to_owned()) }
        });
        scene.embedded_down();
        worker.process.signal(Signal::SIGTERM);
        not_ready(&http, "shutting down");
        assert!(worker.process.is_running());
        worker.process.signal(signal);
        assert_eq!(worker.process.wait(Duration::from_secs(10)).code(), Some(code));
    }
}

/// A worker that joined another one's embedded broker has a code of its own for its end.
#[test]
fn the_end_of_anothers_broker_has_its_own_exit_code() {
    let scene = Scene::without_broker();
    let start = |name: &str| {
        let mut command = scene.command("worker");
        command.args(["--name", name, "--log-format", "json"]).args(FASHION_ONLY);
        Worker::start(name, command)
    };
    let mut owner = start("owner");
    let mut joined = start("joined");
    owner.process.kill();
    assert_eq!(joined.process.wait(PATIENCE).code(), Some(3));
    assert!(joined.process.stderr.text().contains("is gone"));
}

/// How often the group has moved partitions to or from this worker.
fn moves(worker: &Worker) -> usize {
    let log = worker.process.stderr.text();
    log.lines()
        .filter(|line| line.contains("partitions were assigned") || line.contains("are given back"))
        .count()
}

/// By which protocol the group's members speak, as the broker says.
fn protocol(scene: &Scene) -> String {
    let script = format!(
        "python3 -c \"
import os
from confluent_kafka.admin import AdminClient
admin = AdminClient({{'bootstrap.servers': os.environ['KAFKA_BOOTSTRAP_SERVERS']}})
print(*[g.type.name for g in admin.list_consumer_groups().result(30).valid if g.group_id == '{}'])
\"",
        scene.group
    );
    let done = scene.shell(&script, PATIENCE);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout.trim().to_owned()
}

/// KIP-848: the broker gives out the partitions.
#[test]
fn the_consumer_group_protocol_shares_and_loses_nothing() {
    let scene = Scene::on(Kind::Kafka);
    let flags = [FASHION_ONLY, &["--set=group.protocol=consumer"]].concat();
    let mut first = scene.worker("w1", &flags);
    let _second = scene.worker("w2", &flags);
    assert_eq!(protocol(&scene), "CONSUMER");
    let mut stream = Stream::new(&scene);
    stream.flow_until("answers from both", |s| s.answered_by("w1") > 0 && s.answered_by("w2") > 0);
    first.process.signal(Signal::SIGTERM);
    let from = stream.answered_by("w2");
    stream.flow_until("300 more from the one that is left", |s| s.answered_by("w2") >= from + 300);
    assert_eq!(first.process.wait(PATIENCE).code(), Some(0));
    stream.settle().assert_whole(0);
}

/// A worker with a name of its own comes back to its partitions, and the other keeps its own meanwhile.
#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let scene = Scene::on(Kind::Kafka);
    let start = |name: &str| {
        let id = format!("--set=group.instance_id={name}");
        scene.worker(name, &[FASHION_ONLY, &[&id, "--set=group.session_timeout=30s"]].concat())
    };
    let mut first = start("w1");
    let second = start("w2");
    let mut stream = Stream::new(&scene);
    stream.flow_until("answers from both", |s| s.answered_by("w1") > 0 && s.answered_by("w2") > 0);
    let before = moves(&second);
    assert!(before > 0);
    first.process.signal(Signal::SIGTERM);
    assert_eq!(first.process.wait(PATIENCE).code(), Some(0));
    let _first = start("w1");
    let from = stream.answered_by("w1");
    stream.flow_until("more from the one that came back", |s| s.answered_by("w1") >= from + 100);
    assert_eq!(moves(&second), before, "{}", second.process.stderr.text());
    stream.settle().assert_whole(0);
}

/// All that comes is held for so long that it is there before the first is computed.
const GATHERS: &[&str] = &["--set=batching.max_queue_delay_microseconds=2000000", "--max-batch-size=100"];

fn fashion(id: &str, image: &[u8]) -> Record {
    Record::bytes(id, image).header("ce_model", "fashion-mnist")
}

#[test]
fn a_full_queue_refuses_and_says_to_try_again() {
    const SENT: usize = 40;
    const ROOM: usize = 10;
    let scene = Scene::laid_out(Kind::Kafka, &Layout { partitions: 1, ..Layout::default() });
    let sample = &clothes()[0];
    let records = (0..SENT).map(|i| fashion(&format!("r-{i}"), &sample.bytes)).collect::<Vec<_>>();
    let acknowledged = scene.sender().send(&records);
    let _worker = scene.worker("w1", &[FASHION_ONLY, GATHERS, &["--set=queue.max_queue_size=10"]].concat());
    let mut account = Account::default();
    // Those that came first have the room; partition and queue keep the order.
    account.sent(&records, acknowledged, |i| {
        if i < ROOM {
            Expect::Label(sample.label.clone())
        } else {
            Expect::Error { code: ErrorCode::ResourceExhausted, dead: false }
        }
    });
    scene.settle(&mut account);
    account.assert_whole(0);
    let [Response { outcome: Outcome::Error(error), .. }] = account.answers_to("r-39") else { panic!() };
    assert!(error.retryable && error.message.contains("10 requests wait"), "{error:?}");
}

#[test]
fn what_is_urgent_goes_first() {
    const URGENT: usize = 5;
    let scene = Scene::laid_out(Kind::Kafka, &Layout { partitions: 1, ..Layout::default() });
    let image = &clothes()[0].bytes;
    let mut records = (0..30).map(|i| fashion(&format!("plain-{i}"), image)).collect::<Vec<_>>();
    records.extend((0..URGENT).map(|i| fashion(&format!("urgent-{i}"), image).header("ce_priority", "1")));
    drop(scene.sender().send(&records));
    let _worker = scene.worker("w1", &[FASHION_ONLY, GATHERS].concat());
    let mut results = scene.results();
    results.read_count(records.len(), PATIENCE);
    let first = results.seen.iter().take(URGENT).filter_map(e2e::traffic::Received::id).collect::<Vec<_>>();
    assert_eq!(first, (0..URGENT).map(|i| format!("urgent-{i}")).collect::<Vec<_>>());
}

/// A cluster that wants TLS and a password of both programs, each by another mechanism.
#[test]
fn worker_and_client_come_in_through_tls_with_a_password() {
    let cluster = Setup::of(1).tls().user("worker", "w:{secret}").user("caller", "c-secret").start();
    let mut scene = Scene::on_cluster(&cluster);
    scene.access = cluster.access_as("worker", Mechanism::ScramSha512);
    let worker = scene.worker("w1", FASHION_ONLY);
    let send = |access: &Access| scene.client_as(access, &["send", "--wait", "data/samples/sandal5.png"]);
    let caller = cluster.access_as("caller", Mechanism::Plain);
    let sent = send(&caller);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(sent.stdout.contains("Sandal"), "{sent:?}");

    // Each of what may be wrong has its own sentence.
    let wrong: [(_, &str); 3] = [
        (caller.clone().with("sasl_password", Some("wrong")), "uthentication"),
        (caller.clone().with("ssl_ca_location", None), "certificate"),
        (caller.with("ssl_ca_location", Some("/nowhere/ca.pem")), "/nowhere/ca.pem"),
    ];
    for (access, words) in wrong {
        let sent = send(&access);
        assert!(sent.code.is_some_and(|code| code != 0), "{sent:?}");
        assert!(sent.stderr.contains(words), "{words}: {sent:?}");
    }
    let said = worker.process.stderr.text();
    assert!(!said.contains("w:{secret}"), "{said}");
}
