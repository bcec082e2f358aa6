//! What `client` makes of a real Kafka that does not let it do what it asks, and how the announcements' topic is made.

use e2e::apache::{Mechanism, Setup};
use e2e::scene::{Kind, Scene};
use e2e::traffic::{Record, Sender};
use jiff::{SignedDuration, Timestamp};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use wire::Announcement;

const SANDAL: &str = "data/samples/sandal5.png";

/// Whoever may not read answers is told so at once, and may send all the same; nothing waits in silence.
#[test]
fn what_a_user_may_not_do_is_said_with_the_topic() {
    let cluster = Setup::of(1).user("alice", "a-secret").acls().start();
    let scene = Scene::on_cluster(&cluster);
    let topics = &scene.topics;
    let alice = cluster.access_as("alice", Mechanism::Plain);
    let refused = |arguments: &[&str], topic: &str| {
        // Before the time-out, which is code 4, or 0 where it is asked to listen for that long.
        let done = scene.client_as(&alice, arguments);
        assert_eq!(done.code, Some(1), "{arguments:?}: {done:?}");
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains("does not let this user use") && said.contains(topic), "{said}");
    };
    let wait = ["send", "--wait", "--timeout", "60s", SANDAL];
    refused(&wait, &topics.requests);
    cluster.grant("alice", "DESCRIBE", "TOPIC", &topics.requests);
    refused(&wait, &topics.results);
    cluster.grant("alice", "DESCRIBE", "TOPIC", &topics.results);
    refused(&["send", "--timeout", "60s", SANDAL], &topics.requests);
    cluster.grant("alice", "WRITE", "TOPIC", &topics.requests);
    let done = scene.client_as(&alice, &["send", SANDAL]);
    assert_eq!(done.code, Some(0), "who only sends need not read: {done:?}");
    refused(&wait, &topics.results);
    refused(&["listen", "--timeout", "60s"], &topics.results);
    refused(&["models"], &topics.models);
    cluster.grant("alice", "READ", "TOPIC", &topics.results);
    let done = scene.client_as(&alice, &["send", "--wait", "--timeout", "2s", SANDAL]);
    assert_eq!(done.code, Some(4), "now it waits, and there is no worker: {done:?}");

    let access = alice.with("sasl_password", Some("wrong"));
    let done = scene.client_as(&access, &["models"]);
    assert!(done.code == Some(3) && done.stderr.contains("uthentication"), "{done:?}");
    announcements_are_forgotten(&scene);
}

/// As the worker makes it: else it would grow for days and be read whole.
fn announcements_are_forgotten(scene: &Scene) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.bootstrap_servers);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let topic = ResourceSpecifier::Topic(&scene.topics.models);
    let options = AdminOptions::new().request_timeout(Some(e2e::PATIENCE));
    let answers = runtime.block_on(admin.describe_configs(&[topic], &options)).unwrap();
    let made = answers.into_iter().next().unwrap().unwrap();
    let found = made.entries.iter().map(|e| (e.name.as_str(), e.value.clone().unwrap_or_default()));
    let found: std::collections::HashMap<_, _> = found.collect();
    assert_eq!(found["cleanup.policy"], "compact,delete");
    let minutes = |key: &str| found[key].parse::<u64>().unwrap() / 60_000;
    assert!(minutes("segment.ms") <= 10 && minutes("retention.ms") <= 60, "{found:?}");
}

/// The topic of announcements is not read whole: what is older than any that holds is passed over unread, whatever it says.
#[test]
fn announcements_are_read_from_a_few_minutes_ago() {
    let scene = Scene::on(Kind::Kafka);
    let now = Timestamp::now();
    let announced = |worker: &str, minutes: i64| {
        let announcement = Announcement {
            worker: worker.to_owned(),
            requests_topic: scene.topics.requests.clone(),
            model: "bird".to_owned(),
            version: 1,
            digest: format!("sha256:{}", "0".repeat(64)),
            architecture: "efficientnet_lite0".to_owned(),
            labels: 59,
            default: true,
            loading: false,
            memory_bytes: None,
            traffic_percent: None,
            shadow_percent: None,
            announced_at: now,
            ttl_s: 3600,
            skipped: Vec::new(),
        };
        let written = now - SignedDuration::from_mins(minutes);
        let record = Record::bytes(worker, announcement.encode()).written(written.as_millisecond());
        Record { key: Some(announcement.key().into_bytes()), ..record }
    };
    let records = [announced("of-old", 20), announced("of-late", 5), announced("of-now", 0)];
    drop(Sender::new(&scene.bootstrap_servers, &scene.topics.models).send(&records));
    let done = scene.client(&["models", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let lines = done.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let workers = lines.map(|line| line["worker"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(workers, ["of-late", "of-now"]);
}
