//! Versions that are tried out beside the one in service: seen by nobody, or held to limits by the workers themselves.

use std::collections::BTreeMap;

use e2e::account::{Account, Expect};
use e2e::images::clothes;
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::{Paced, Stream};
use e2e::traffic::Record;
use e2e::versions::{MODEL, Versions};
use e2e::{PATIENCE, wait_until};
use registry::{Kind as Change, Limits, TryOut};
use wire::{Announcement, Comparison};

use crate::http::get;

/// Requests a second that leave a worker time for what nobody waits for.
const EASY: f64 = 60.0;

/// Workers that publish what a shadow says on the scene's own topic.
fn workers<const N: usize>(scene: &Scene, versions: &Versions, names: [&str; N]) -> [Worker; N] {
    let topic = format!("topics.shadow={}", scene.topics.shadow);
    names.map(|name| versions.worker(scene, name, &["--set", &topic]))
}

fn announced(scene: &Scene) -> Vec<Announcement> {
    let said = scene.client(&["models", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until `client models` shows that of both versions on each worker: its share, and what it computes beside the answer.
fn wait_for(scene: &Scene, workers: usize, what: &str, shows: impl Fn(&Announcement) -> bool) {
    wait_until(what, PATIENCE, || {
        let all = announced(scene);
        if all.iter().filter(|row| shows(row)).count() == workers { Ok(()) } else { Err(format!("{all:?}")) }
    });
}

/// What became of the requests that a worker's version 2 was to compute beside the answer.
fn shadowed(worker: &Worker) -> BTreeMap<String, usize> {
    let (code, metrics) = get(worker.http(), "/metrics");
    assert_eq!(code, 200, "{metrics}");
    let outcome = |line: &str| {
        let rest =
            line.strip_prefix(&format!(r#"mlaas_worker_shadow_requests_total{{model="{MODEL}",outcome=""#))?;
        let (outcome, count) = rest.split_once(r#"",version="2"} "#)?;
        Some((outcome.to_owned(), count.parse().ok()?))
    };
    metrics.lines().filter_map(outcome).collect()
}

#[test]
fn a_shadow_computes_what_is_answered_and_answers_nothing() {
    const REQUESTS: usize = 60;
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish_one_that_labels_otherwise(2);
    let [worker] = workers(&scene, &versions, ["w1"]);
    versions.try_out(2, TryOut::Shadow(100));
    wait_for(&scene, 1, "the shadow", |row| row.version == 2 && row.shadow_percent == Some(100));
    let sandal = &clothes()[0];
    let id = |i: usize| format!("request {i}");
    let records: Vec<_> = (0..REQUESTS).map(|i| Record::bytes(&id(i), sandal.bytes.clone())).collect();
    let mut account = Account::default();
    let acknowledged = scene.sender().send(&records);
    account.sent(&records, acknowledged, |_| Expect::Label(sandal.label.clone()));
    scene.settle(&mut account);
    account.assert_whole(0);
    wait_until("each request computed twice, or shed", PATIENCE, || {
        let shadowed = shadowed(&worker);
        if shadowed.values().sum::<usize>() == REQUESTS { Ok(()) } else { Err(format!("{shadowed:?}")) }
    });
    let counts = shadowed(&worker);
    let computed = counts.get("disagreed").copied().unwrap_or_default();
    assert_eq!(computed + counts.get("shed").copied().unwrap_or_default(), REQUESTS, "{counts:?}");
    assert!(computed > 0, "{counts:?}");
    let mut published = scene.reader(&scene.topics.shadow);
    published.read_count(computed, PATIENCE);
    for record in &published.seen {
        let said = Comparison::decode(record.value.as_deref().unwrap()).unwrap();
        let first = |labelled: &wire::Labelled| labelled.predictions[0].label.clone();
        assert_eq!((said.answer.model.version, said.shadow.model.version, said.agree), (1, 2, false));
        assert_eq!(first(&said.answer), sandal.label, "{said:?}");
        assert_ne!(first(&said.shadow), sandal.label, "{said:?}");
        assert!((0..REQUESTS).any(|i| said.request_id == id(i)) && said.worker == "w1", "{said:?}");
    }
    versions.roll_back();
    wait_for(&scene, 0, "no shadow any more", |row| row.version == 2);
}

#[test]
fn a_canary_that_labels_otherwise_is_rolled_back_by_a_worker_and_no_request_is_lost() {
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish_one_that_labels_otherwise(2);
    let _workers = workers(&scene, &versions, ["w1", "w2"]);
    let limits = Limits { errors: 0.5, latency: 100.0, disagreement: Some(0.1), for_s: Some(3600) };
    versions.try_out(2, TryOut::Canary(50, Some(limits)));
    wait_for(&scene, 2, "the canary", |row| row.version == 2 && row.traffic_percent == Some(50));
    let mut stream = Stream::new(&scene);
    stream.any_label = true;
    let mut paced = Paced::new(stream, EASY);
    paced.until("a rollback", |_| versions.last_change().kind == Change::Rollback);
    let change = versions.last_change();
    assert_eq!((change.to, change.canary), (1, None));
    assert!(["worker w1", "worker w2"].contains(&change.by.as_str()), "{}", change.by);
    let why = change.reason.unwrap();
    assert!(
        why.contains("it labels 100.0 % of the last ") && why.contains("differently from version 1"),
        "{why}"
    );
    // Both workers, whoever has written that down.
    wait_for(&scene, 0, "no canary any more", |row| row.version == 2);
    paced.stream.settle().assert_whole(0);
}

#[test]
fn a_canary_that_keeps_within_its_limits_for_its_time_is_promoted_by_a_worker() {
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let _workers = workers(&scene, &versions, ["w1", "w2"]);
    // With all that the workers can do, and most of it the canary's: it is the same net.
    let limits = Limits { errors: 0.01, latency: 2.0, disagreement: None, for_s: Some(3) };
    versions.try_out(2, TryOut::Canary(90, Some(limits)));
    let mut stream = Stream::new(&scene);
    stream.flow_until("a promotion", |_| versions.last_change().kind == Change::Promote);
    let change = versions.last_change();
    assert_eq!((change.from, change.to, change.canary), (Some(1), 2, None));
    assert!(change.reason.unwrap().contains("version 2 was tried out for "), "by {}", change.by);
    wait_for(&scene, 2, "version 2 alone", |row| row.version == 2 && row.traffic_percent.is_none());
    stream.settle().assert_whole(0);
}
