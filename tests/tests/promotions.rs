//! Another version in the place of the one that is served, while requests come.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::account::{Account, Expect};
use e2e::apache::Apache;
use e2e::images::clothes;
use e2e::scene::{Kind, PARTITIONS, Scene, Worker};
use e2e::stream::Stream;
use e2e::traffic::Record;
use e2e::versions::{MODEL, Versions};
use e2e::{PATIENCE, wait_until};
use registry::TryOut;
use serde_json::Value;
use wire::Outcome;

use crate::http::get;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `/readyz` says beside its answer, once it says so.
fn wait_for_note(worker: &Worker, what: &str, is_it: impl Fn(&str) -> bool) {
    wait_until(what, PATIENCE, || match get(worker.http(), "/readyz") {
        (200, said) if is_it(&said) => Ok(()),
        said => Err(format!("{said:?}")),
    });
}

/// The versions that `client models` shows, and what is skipped.
fn announced(scene: &Scene) -> (Vec<(String, u64)>, Vec<String>) {
    let said = scene.client(&["models", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let rows: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let version = |row: &Value| (row["model"].as_str().unwrap().to_owned(), row["version"].as_u64().unwrap());
    let skipped = rows.iter().flat_map(|row| row["skipped"].as_array().into_iter().flatten());
    let reasons = skipped.map(|skipped| skipped["reason"].as_str().unwrap().to_owned()).collect();
    (rows.iter().map(version).collect(), reasons)
}

/// How many versions a worker has loaded in the place of others.
fn loaded(worker: &Worker) -> u32 {
    let (code, metrics) = get(worker.http(), "/metrics");
    let loads = format!(r#"mlaas_worker_model_loads_total{{model="{MODEL}",outcome="loaded"}} "#);
    let count = metrics.lines().find_map(|line| line.strip_prefix(&loads)?.parse().ok());
    assert_eq!(code, 200, "{metrics}");
    count.unwrap_or_default()
}

#[test]
fn versions_change_under_load_and_no_request_is_lost_or_fails() {
    const PROMOTIONS: u32 = 12;
    const SLACK: u64 = 30_000_000;
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let worker = versions.worker(&scene, "w1", &[]);
    let mut stream = Stream::new(&scene);
    stream.flow_until("answers of version 1", |stream| stream.answered_by_version(1) > 0);
    let mut held = Vec::new();
    for promotion in 0..PROMOTIONS {
        let version = 2 - promotion % 2;
        let before = stream.answered_by_version(version);
        versions.promote(version);
        // Some of the requests that were taken before are still answered by the version before, and that may be this one.
        stream.flow_until("answers of the version that was promoted", |stream| {
            stream.answered_by_version(version) > before + 50 && loaded(&worker) > promotion
        });
        held.push(worker.process.resident_bytes());
    }
    let account = stream.settle();
    account.assert_whole(0);
    let after_some = held[3];
    assert!(held[4..].iter().all(|bytes| *bytes < after_some + SLACK), "after each promotion: {held:?}");
    assert_eq!(loaded(&worker), PROMOTIONS);
    let (_, metrics) = get(worker.http(), "/metrics");
    assert!(!metrics.contains(r#"outcome="failed""#), "{metrics}");
}

#[test]
#[ignore = "a minute: make test-more"]
fn promotions_go_on_while_a_worker_is_killed_on_one_node() {
    promotions_while_a_worker_is_killed(&Scene::on(Kind::Kafka));
}

#[test]
#[ignore = "a minute, three nodes: make test-more"]
fn promotions_go_on_while_a_worker_is_killed_on_three_nodes() {
    let cluster = Apache::start(3);
    promotions_while_a_worker_is_killed(&Scene::on_cluster(&cluster));
}

/// Every two seconds another version, while 20,000 requests flow and one of two workers is killed in their middle.
fn promotions_while_a_worker_is_killed(scene: &Scene) {
    const REQUESTS: usize = 20_000;
    const EVERY: Duration = Duration::from_secs(2);
    e2e::current_test::limit(Duration::from_secs(600));
    let versions = Versions::new(scene);
    versions.publish(MODEL, 2);
    let mut dies = versions.worker(scene, "w1", &[]);
    let _stays = versions.worker(scene, "w2", &[]);
    let mut stream = Stream::new(scene);
    stream.account.versions_differ = true;
    let (mut promoted, mut last) = (0, Instant::now());
    let mut promote_in_time = || {
        if last.elapsed() >= EVERY {
            promoted += 1;
            versions.promote(2 - promoted % 2);
            last = Instant::now();
        }
    };
    let mut uncommitted = BTreeSet::new();
    for half in 1..=2 {
        for part in 1..=10 {
            let until = (half - 1) * REQUESTS / 2 + part * REQUESTS / 20;
            stream.flow_until("a twentieth more", |stream| {
                promote_in_time();
                stream.answered() >= until
            });
        }
        if half == 1 {
            dies.process.kill();
            // Its partitions stay as they are until its session has timed out.
            uncommitted = stream.account.uncommitted(&scene.offsets());
        }
    }
    let (first, second) = (stream.answered_by_version(1), stream.answered_by_version(2));
    assert!(promoted >= 5 && first > 1000 && second > 1000, "{promoted} promotions: {first}, {second}");
    let account = stream.settle();
    account.assert_whole_but_for(&account.answered_by("w1", &uncommitted));
}

#[test]
fn a_version_that_can_t_be_served_leaves_the_one_before_and_everybody_is_told_why() {
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish_one_that_fails(2);
    versions.publish(MODEL, 3);
    let worker = versions.worker(&scene, "w1", &["--set", "models.allow_torchscript=true"]);
    versions.promote(2);
    let why = "fashion-mnist 2 is not served, and fashion-mnist 1 still is: ";
    wait_for_note(&worker, "a note on version 2", |said| {
        said.contains(why) && said.contains("could not be computed")
    });
    ask(&scene, "while the other is meant", 1);
    wait_until("what can't be served is announced", PATIENCE, || match announced(&scene) {
        (served, reasons)
            if served == [(MODEL.to_owned(), 1)] && reasons.iter().any(|r| r.starts_with(why)) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });

    versions.promote(3);
    wait_for_note(&worker, "no note any more", |said| !said.contains(MODEL));
    ask(&scene, "when it is mended", 3);
    wait_until("version 3 alone is announced", PATIENCE, || match announced(&scene) {
        (served, reasons) if served == [(MODEL.to_owned(), 3)] && reasons.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_version_that_calls_its_sample_something_else_does_not_come_into_service() {
    let scene = Scene::on(Kind::Embedded);
    let versions = Versions::new(&scene);
    let image = &clothes()[0];
    versions.publish_with_sample(2, &image.bytes, "Shirt");
    versions.publish_with_sample(3, &image.bytes, &image.label);
    let worker = versions.worker(&scene, "w1", &[]);
    versions.promote(2);
    let why = format!(
        "fashion-mnist 2 is not served, and fashion-mnist 1 still is: fashion-mnist 2 can't be loaded: its sample sample-1.png is \
         called {}, and should be called Shirt: ",
        image.label
    );
    wait_for_note(&worker, "a note on the sample", |said| said.contains(&why));
    ask(&scene, "while it is called something else", 1);
    wait_until("why it is not served is announced", PATIENCE, || match announced(&scene) {
        (_, reasons) if reasons.iter().any(|reason| reason.starts_with(&why)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let (_, metrics) = get(worker.http(), "/metrics");
    let failed = format!(r#"mlaas_worker_model_loads_total{{model="{MODEL}",outcome="failed"}} 1"#);
    assert!(metrics.lines().any(|line| line == failed), "{metrics}");
    versions.promote(3);
    wait_for_note(&worker, "no note any more", |said| !said.contains(MODEL));
    ask(&scene, "when it is called what it should be", 3);
}

#[test]
fn a_version_that_is_tried_out_answers_the_same_keys_on_each_worker_until_it_ends() {
    const KEYS: usize = 40;
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let _workers = [versions.worker(&scene, "w1", &[]), versions.worker(&scene, "w2", &[])];
    versions.try_out(2, TryOut::Canary(50, None));
    let wait_for_shares = |wanted: &[(&str, u64, Option<u64>)]| {
        wait_until("the shares of each worker", PATIENCE, || {
            let said = scene.client(&["models", "--json"]);
            let rows: Vec<Value> =
                said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let mut shares: Vec<_> = rows
                .iter()
                .map(|row| {
                    (
                        row["worker"].as_str().unwrap(),
                        row["version"].as_u64().unwrap(),
                        row["traffic_percent"].as_u64(),
                    )
                })
                .collect();
            shares.sort_unstable();
            if shares == wanted { Ok(()) } else { Err(format!("{shares:?}")) }
        });
    };
    let half = Some(50);
    wait_for_shares(&[("w1", 1, half), ("w1", 2, half), ("w2", 1, half), ("w2", 2, half)]);

    let sandal = &clothes()[0];
    let id = |key: usize, partition: i32| format!("{key} by {partition}");
    // Each key by each partition, and so by each worker.
    let record = |key: usize, partition: i32| Record {
        key: Some(format!("user-{key}").into_bytes()),
        partition: Some(partition),
        ..Record::bytes(&id(key, partition), sandal.bytes.clone())
    };
    let records: Vec<_> = (0..KEYS)
        .flat_map(|key| (0..PARTITIONS).map(move |partition| (key, partition)))
        .map(|(key, partition)| record(key, partition))
        .collect();
    let mut account = Account::default();
    let acknowledged = scene.sender().send(&records);
    account.sent(&records, acknowledged, |_| Expect::Label(sandal.label.clone()));
    scene.settle(&mut account);
    account.assert_whole(0);
    assert!(account.shares().len() == 2, "both workers: {:?}", account.shares());
    let version = |key: usize| {
        let answers = (0..PARTITIONS).flat_map(|partition| account.answers_to(&id(key, partition)));
        let versions: BTreeSet<_> = answers
            .map(|answer| match &answer.outcome {
                Outcome::Success(success) => success.model.version,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(versions.len(), 1, "user-{key}: {versions:?}");
        versions.first().copied()
    };
    let tried = (0..KEYS).filter(|key| version(*key) == Some(2)).count();
    assert!((8..=32).contains(&tried), "{tried} of {KEYS}");
    versions.roll_back();
    wait_for_shares(&[("w1", 1, None), ("w2", 1, None)]);
}

/// The answer to one image, and which version gave it.
fn ask(scene: &Scene, id: &str, version: u64) {
    let sandal = &clothes()[0];
    let asked = scene.client(&["send", "--wait", "--json", text(&sandal.path)]);
    assert_eq!(asked.code, Some(0), "{id}: {asked:?}");
    let answer: Value = serde_json::from_str(asked.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(answer["model"]["version"], version, "{id}: {answer}");
}

/// `model train`, `import` and their like, while a worker runs.
#[test]
fn a_model_that_is_published_under_a_running_worker_is_served_and_a_number_stays() {
    let scene = Scene::on(Kind::Embedded);
    let versions = Versions::new(&scene);
    let _worker = versions.worker(&scene, "w1", &[]);
    versions.publish("mine", 1);
    wait_until("mine is announced", PATIENCE, || match announced(&scene) {
        (served, _) if served.contains(&("mine".to_owned(), 1)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let sandal = &clothes()[0];
    let record = Record::bytes("to mine", sandal.bytes.clone()).header("ce_model", "mine");
    let mut account = Account::default();
    let acknowledged = scene.sender().send(std::slice::from_ref(&record));
    account.sent(&[record], acknowledged, |_| Expect::Label(sandal.label.clone()));
    scene.settle(&mut account);
    account.assert_whole(0);
}

#[test]
fn only_signed_versions_come_into_service_where_a_key_is_configured() {
    let scene = Scene::on(Kind::Embedded);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let key = versions.key_pair("ours");
    versions.sign(1, &key);
    let trusted = format!("models.public_keys=[{}]", text(&key.public));
    let worker = versions.worker(&scene, "w1", &["--set", &trusted]);
    versions.promote(2);
    wait_for_note(&worker, "a note on version 2", |said| {
        said.contains("fashion-mnist 2 is not served, and fashion-mnist 1 still is: ")
            && said.contains("is not signed")
    });
    versions.sign(2, &versions.key_pair("somebody's"));
    wait_for_note(&worker, "a note on the signature", |said| {
        said.contains("is not the signature of the manifest")
    });
    ask(&scene, "while it is not signed", 1);
    versions.sign(2, &key);
    wait_for_note(&worker, "no note any more", |said| !said.contains(MODEL));
    ask(&scene, "when it is signed", 2);
}
