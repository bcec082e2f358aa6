//! The harness itself: what other tests take for granted of it.

use std::time::Duration;

use e2e::PATIENCE;
use e2e::apache::{Apache, Mechanism, Setup};
use e2e::process::Process;
use e2e::scene::Scene;
use e2e::traffic::Record;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

/// Runs one of the ignored tests below in a process of its own.
pub(crate) fn apart(test: &str) -> Process {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env("MLAAS_E2E_APART", "1");
    Process::spawn(test, command)
}

/// Whether this test is to do what it is there for.
pub(crate) fn is_apart() -> bool {
    std::env::var_os("MLAAS_E2E_APART").is_some()
}

#[test]
fn a_test_that_hangs_is_ended_with_its_name_and_its_processes_words() {
    let done = apart("harness::hangs").finish(PATIENCE);
    assert_eq!(done.code, None, "a signal ended it: {done:?}");
    assert!(done.stderr.contains("=== harness::hangs ran longer than 1 s"), "{done:?}");
    assert!(done.stderr.contains("what the child said last"), "{done:?}");
}

/// Not a test: it hangs, for the test above.
#[test]
#[ignore = "started by another test"]
fn hangs() {
    assert!(is_apart(), "only another test starts this one");
    e2e::current_test::limit(Duration::from_secs(1));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo what the child said last; sleep 300"]);
    let mut child = Process::spawn("child", command);
    child.wait_for_line("its word", PATIENCE, |line| (!line.is_empty()).then_some(()));
    child.wait(PATIENCE);
}

/// As a librdkafka client of that user sees the cluster.
fn ask(cluster: &Apache, user: &str, mechanism: Mechanism, password: Option<&str>) -> Result<usize, String> {
    let mut access = cluster.access_as(user, mechanism);
    if password.is_some() {
        access = access.with("sasl_password", password);
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &access.bootstrap_servers).set("log_level", "0");
    for (key, value) in &access.settings {
        let key = match *key {
            "sasl_mechanism" => "sasl.mechanisms".to_owned(),
            key => key.replace('_', "."),
        };
        config.set(key, value);
    }
    let consumer: BaseConsumer = config.create().map_err(|e| e.to_string())?;
    let answer = consumer.fetch_metadata(None, Duration::from_secs(5)).map_err(|e| e.to_string())?;
    Ok(answer.topics().len())
}

/// TLS, names and passwords, access rules that come and go, and a node that stands still.
#[test]
fn a_cluster_is_as_closed_as_it_is_set_up() {
    let cluster = Setup::of(1).tls().user("alice", "a-secret").acls().start();
    let scene = Scene::on_cluster(&cluster);
    drop(scene.sender().send(&[Record::bytes("r", "1")]));
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha512] {
        assert_eq!(ask(&cluster, "alice", mechanism, None), Ok(0), "she may see no topic");
        assert!(ask(&cluster, "alice", mechanism, Some("wrong")).is_err());
    }
    cluster.grant("alice", "DESCRIBE", "TOPIC", &scene.topics.requests);
    assert_eq!(ask(&cluster, "alice", Mechanism::Plain, None), Ok(1));
    cluster.revoke("alice", "DESCRIBE", "TOPIC", &scene.topics.requests);
    assert_eq!(ask(&cluster, "alice", Mechanism::Plain, None), Ok(0));

    let frozen = cluster.freeze(0);
    assert!(ask(&cluster, "alice", Mechanism::Plain, None).is_err(), "it stands still");
    frozen.thaw();
    e2e::wait_until("an answer", PATIENCE, || ask(&cluster, "alice", Mechanism::Plain, None));
}
