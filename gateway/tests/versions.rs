//! Which version is in service, by HTTP, on a registry in a folder: no broker is needed for it.

use std::path::Path;

use registry::{Manifest, Registry};
use serde_json::{Value, json};

use crate::support::{Running, broker, config_with, http};

fn manifest(version: u32) -> Manifest {
    let text = format!(
        "
schema: 1
name: bird
version: {version}
artifacts: [{{ engine: libtorch, file: model.safetensors, architecture: efficientnet-lite0, precision: f32, fetch: make it }}]
classes:
  outputs: 10
  labels: [{{ index: 7, label: rooster }}, {{ index: 8, label: hen }}]
  reject: {{ label: not a bird, threshold: 0.2 }}
input: {{ size: 224, channels: 3, fit: centre-crop, crop: 0.875, interpolation: bicubic, mean: [127, 127, 127], std: [128, 128, 128] }}
metrics: [{{ name: accuracy, value: 0.75, data: a test set, command: model evaluate }}]
license: Apache-2.0
origin: a test
files: {{ model.safetensors: {{ size: 0, sha256: {} }} }}
",
        "0".repeat(64)
    );
    Manifest::from_yaml(&text, Path::new("manifest.yaml")).unwrap()
}

struct Service {
    gateway: Running,
    folder: tempfile::TempDir,
    _broker: kafka::EmbeddedBroker,
}

impl Service {
    /// With three versions of a model.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path()).unwrap();
        for version in 1..=3 {
            registry.publish(manifest(version), &[("model.safetensors", b"weights")]).unwrap();
        }
        let broker = broker(1);
        let root = folder.path().display().to_string();
        let gateway = Running::start(config_with(&broker, &[("models.root", &root)])).await;
        Self { gateway, folder, _broker: broker }
    }

    async fn get(&self, what: &str) -> Value {
        let answer = self.gateway.get(&format!("/v1/models/bird/{what}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn post(&self, what: &str, body: &Value) -> http::Answer {
        let kind = [("content-type", "application/json")];
        self.gateway.post(&format!("/v1/models/bird/{what}"), &kind, body.to_string().as_bytes()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_promoted_tried_out_and_rolled_back_and_the_history_says_by_whom_and_why() {
    let service = Service::start().await;
    let before = service.get("versions").await;
    assert_eq!((&before["production"], &before["seen"]), (&Value::Null, &0.into()), "{before}");
    let numbers: Vec<_> =
        before["versions"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(before["versions"][0]["metrics"][0]["value"], 0.75, "{before}");
    assert_eq!(before["versions"][0]["labels"], 2, "{before}");

    let done =
        service.post("promote", &json!({"version": 1, "reason": "the first", "by": "ada", "seen": 0})).await;
    assert_eq!((done.status, &done.json()["change"]["to"]), (200, &1.into()), "{done:?}");
    let done =
        service.post("promote", &json!({"version": 2, "reason": "try it", "canary": 10, "seen": 1})).await;
    assert_eq!(done.json()["change"]["canary"]["percent"], 10, "{done:?}");
    let tried = service.get("versions").await;
    assert_eq!((&tried["production"], &tried["canary"]["version"]), (&1.into(), &2.into()), "{tried}");
    assert_eq!(service.post("rollback", &json!({"reason": "too slow", "seen": 2})).await.status, 200);
    let done = service.post("promote", &json!({"version": 3, "reason": "better birds", "by": "ada"})).await;
    assert_eq!(done.status, 200, "{done:?}");
    let done = service.post("rollback", &json!({"reason": "worse hens", "by": "bob"})).await;
    assert_eq!(done.json()["change"]["to"], 1, "{done:?}");
    let changes = service.get("history").await["changes"].clone();
    let said: Vec<_> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (
                change["kind"].as_str().unwrap(),
                change["by"].as_str().unwrap(),
                change["reason"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("rollback", "bob", "worse hens"),
        ("promote", "ada", "better birds"),
        ("rollback", "somebody", "too slow"),
        ("canary", "somebody", "try it"),
        ("promote", "ada", "the first"),
    ];
    assert_eq!(said, expected);
    // It is the registry's own history: the command line goes on from there.
    let registry = Registry::open(service.folder.path()).unwrap();
    assert_eq!(registry.alias("bird", "production").unwrap().version, Some(1));
    service.gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_saw_the_same_one_is_told_that_the_other_was_quicker() {
    let service = Service::start().await;
    let wish = |version: u32| json!({"version": version, "reason": "mine", "seen": 0});
    let (mine, yours) = (wish(1), wish(2));
    let (mine, yours) = tokio::join!(service.post("promote", &mine), service.post("promote", &yours));
    let mut status = [mine.status, yours.status];
    status.sort_unstable();
    assert_eq!(status, [200, 409], "{mine:?} {yours:?}");
    let slower = if mine.status == 409 { mine } else { yours };
    assert_eq!(slower.json()["code"], "ABORTED");
    // Whoever saw something else is told so, however late they come.
    let late = service.post("promote", &json!({"version": 3, "reason": "late", "seen": 7})).await;
    assert_eq!(late.problem().0, 409, "{late:?}");
    let late = service.post("rollback", &json!({"reason": "late", "seen": 7})).await;
    assert_eq!(late.problem().0, 409, "{late:?}");
    assert_eq!(service.get("history").await["changes"].as_array().unwrap().len(), 1);
    service.gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_is_refused_and_changes_nothing() {
    let service = Service::start().await;
    for (what, body, status) in [
        ("promote", json!({"version": 9, "reason": "x"}), 404),
        ("promote", json!({"version": 1, "reason": "  "}), 422),
        ("promote", json!({"version": 1, "reason": "x\u{0}y"}), 422),
        ("promote", json!({"version": 1, "reason": "x".repeat(2001)}), 422),
        ("promote", json!({"version": 1, "reason": "x", "by": "a\nb"}), 422),
        ("promote", json!({"version": 1}), 400),
        ("promote", json!({"version": -1, "reason": "x"}), 400),
        ("promote", json!({"version": 1, "reason": "x", "canary": 10}), 422),
        ("promote", json!({"version": 1, "reason": "x", "force": true}), 400),
        ("rollback", json!({"reason": "x"}), 422),
        ("rollback", json!({"reason": "x", "to": 2}), 422),
    ] {
        let answer = service.post(what, &body).await;
        assert_eq!(answer.problem().0, status, "{what} {body}: {answer:?}");
    }
    let plain =
        service.gateway.post("/v1/models/bird/promote", &[("content-type", "text/plain")], b"{}").await;
    assert_eq!(plain.problem().0, 415, "a form of another page's can't say it");
    for path in ["/v1/models/cat/versions", "/v1/models/cat/history"] {
        assert_eq!(service.gateway.get(path).await.problem().0, 404, "{path}");
    }
    let answer = service.gateway.get("/v1/models/..%2f..%2fetc/versions").await;
    assert!(matches!(answer.problem().0, 404 | 422), "{answer:?}");
    assert_eq!(service.get("history").await["changes"], json!([]));
    std::fs::write(service.folder.path().join("bird/3/model.safetensors"), b"weighty").unwrap();
    let damaged = service.post("promote", &json!({"version": 3, "reason": "x"})).await;
    assert_eq!(damaged.problem().0, 503, "{damaged:?}");
    service.gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_it_is_said_what_to_set() {
    let broker = broker(1);
    let gateway = Running::start(config_with(&broker, &[])).await;
    for path in ["/v1/models/bird/versions", "/v1/models/bird/history"] {
        let (status, said) = gateway.get(path).await.problem();
        assert!(status == 501 && said.contains("set models.root"), "{status} {said}");
    }
    gateway.finish().await.unwrap();
}
