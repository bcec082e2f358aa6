//! Another version in the place of the one that is served, while requests come.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::account::{Account, Expect};
use e2e::images::clothes;
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::Stream;
use e2e::traffic::Record;
use e2e::{PATIENCE, paths, wait_until};
use registry::{Artifact, Author, EngineKind, Manifest, Registry, Select};
use serde_json::Value;

use crate::http::get;

const MODEL: &str = "fashion-mnist";
const ALIAS: &str = "production";

/// A folder of model versions for a test alone: the shipped clothes, version 1, in production.
struct Weights {
    root: PathBuf,
    registry: Registry,
}

impl Weights {
    fn new(scene: &Scene) -> Self {
        let root = scene.folder.join("weights");
        let version = root.join(MODEL).join("1");
        fs::create_dir_all(&version).unwrap();
        for file in ["manifest.yaml", "model.safetensors"] {
            fs::copy(paths::weights().join(MODEL).join("1").join(file), version.join(file)).unwrap();
        }
        fs::write(root.join(MODEL).join(ALIAS), "1\n").unwrap();
        let registry = Registry::open(&root).unwrap();
        Self { root, registry }
    }

    /// The same net as another version, or another model.
    fn publish(&self, model: &str, version: u32) {
        let weights = fs::read(self.root.join(MODEL).join("1/model.safetensors")).unwrap();
        let artifact = self.first().artifacts.remove(0);
        self.publish_file(model, version, artifact, &weights);
    }

    /// A version that loads, and whose net can't be computed: its code gives something else than outputs.
    fn publish_one_that_fails(&self, version: u32) {
        let net = fs::read(paths::root().join("model/tests/torchscript/pair.pt")).unwrap();
        let artifact = Artifact {
            engine: EngineKind::Torchscript,
            file: "model.pt".into(),
            architecture: None,
            ..self.first().artifacts.remove(0)
        };
        self.publish_file(MODEL, version, artifact, &net);
    }

    fn first(&self) -> Manifest {
        self.registry.load(MODEL, &Select::Version(1)).unwrap().manifest
    }

    fn publish_file(&self, model: &str, version: u32, artifact: Artifact, bytes: &[u8]) {
        let file = artifact.file.clone();
        let manifest = Manifest {
            name: model.to_owned(),
            version,
            artifacts: vec![artifact],
            metrics: Vec::new(),
            configuration: None,
            ..self.first()
        };
        self.registry.publish(manifest, &[(&file, bytes)]).unwrap();
    }

    fn promote(&self, version: u32) {
        let author = Author { by: "the test".into(), reason: Some("to see it change".into()) };
        self.registry.promote(MODEL, ALIAS, version, &author, None).unwrap();
    }

    fn worker(&self, scene: &Scene, flags: &[&str]) -> Worker {
        let root = format!("models.root={}", text(&self.root));
        scene.worker("w1", &[&["--set", root.as_str()], flags].concat())
    }
}

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
    let weights = Weights::new(&scene);
    weights.publish(MODEL, 2);
    let worker = weights.worker(&scene, &[]);
    let mut stream = Stream::new(&scene);
    stream.flow_until("answers of version 1", |stream| stream.answered_by_version(1) > 0);
    let mut held = Vec::new();
    for promotion in 0..PROMOTIONS {
        let version = 2 - promotion % 2;
        let before = stream.answered_by_version(version);
        weights.promote(version);
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
    let weights = Weights::new(&scene);
    weights.publish_one_that_fails(2);
    weights.publish(MODEL, 3);
    let worker = weights.worker(&scene, &["--set", "models.allow_torchscript=true"]);
    weights.promote(2);
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

    weights.promote(3);
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
    let weights = Weights::new(&scene);
    let _worker = weights.worker(&scene, &[]);
    weights.publish("mine", 1);
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
