//! Another version in the place of the one that is served, while requests come.

use std::path::Path;

use e2e::account::{Account, Expect};
use e2e::images::clothes;
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::Stream;
use e2e::traffic::Record;
use e2e::versions::{MODEL, Versions};
use e2e::{PATIENCE, wait_until};
use serde_json::Value;

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
        // Some of the requests that were taken before are still answered by the version before.
        stream.flow_until("answers of the version that was promoted", |stream| {
            stream.answered_by_version(version) > before + 50
        });
        held.push(worker.process.resident_bytes());
    }
    let account = stream.settle();
    account.assert_whole(0);
    let after_some = held[3];
    assert!(held[4..].iter().all(|bytes| *bytes < after_some + SLACK), "after each promotion: {held:?}");
    let (code, metrics) = get(worker.http(), "/metrics");
    let loads = format!(r#"mlaas_worker_model_loads_total{{model="{MODEL}",outcome="loaded"}} {PROMOTIONS}"#);
    assert!(code == 200 && metrics.lines().any(|line| line == loads), "{metrics}");
    assert!(!metrics.contains(r#"outcome="failed""#), "{metrics}");
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
