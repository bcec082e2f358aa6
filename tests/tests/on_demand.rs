//! Versions that a request names and that are not in service.

use e2e::account::{Account, Expect};
use e2e::images::clothes;
use e2e::process::Finished;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use e2e::versions::{MODEL, Versions};
use e2e::{PATIENCE, wait_until};
use wire::{ErrorCode, Outcome, header};

use crate::http::get;

/// Each request gives its version by name, in two rounds, so that a version goes and comes again.
fn requests(versions: impl Iterator<Item = u32> + Clone) -> Vec<(u32, Record)> {
    let sandal = &clothes()[0];
    let record = |round: usize, version: u32| {
        let id = format!("{round}: version {version}");
        let record = Record::bytes(&id, sandal.bytes.clone()).header(header::MODEL, MODEL);
        (version, record.header(header::MODEL_VERSION, version.to_string()))
    };
    (0..2).flat_map(|round| versions.clone().map(move |version| record(round, version))).collect()
}

/// How many bytes the versions take that are loaded beside the one in production, as the worker's metrics say.
fn held(metrics: &str) -> Vec<u64> {
    let of = |line: &&str| {
        line.starts_with("mlaas_worker_model_memory_bytes{") && !line.contains(r#"version="1""#)
    };
    let bytes = |line: &str| line.rsplit(' ').next().unwrap().parse().unwrap();
    metrics.lines().filter(of).map(bytes).collect()
}

#[test]
fn each_of_many_versions_is_answered_by_itself_within_the_memory_that_is_allowed() {
    const VERSIONS: u32 = 64;
    const ALLOWED: u64 = 64_000_000;
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    (2..=VERSIONS).for_each(|version| versions.publish(MODEL, version));
    let allowed = format!("models.on_demand_bytes={ALLOWED}");
    let worker = versions.worker(&scene, "w1", &["--set", &allowed, "--set", "instances=1"]);
    let (_, first) = get(worker.http(), "/metrics");
    assert_eq!(held(&first), [0; 0], "the one in production alone is loaded: {first}");
    let before = worker.process.resident_bytes();

    let label = clothes()[0].label.clone();
    let mut account = Account::default();
    let named = requests(1..=VERSIONS);
    let records: Vec<_> = named.iter().map(|(_, record)| record.clone()).collect();
    account.sent(&records, scene.sender().send(&records), |_| Expect::Label(label.clone()));
    let absent = Record::bytes("absent", clothes()[0].bytes.clone()).header(header::MODEL, MODEL);
    let absent = [absent.header(header::MODEL_VERSION, "65")];
    let not_found = |_| Expect::Error { code: ErrorCode::NotFound, dead: false };
    account.sent(&absent, scene.sender().send(&absent), not_found);
    scene.settle(&mut account);
    account.assert_whole(0);
    for (version, record) in &named {
        let id = record.id().unwrap();
        let Outcome::Success(success) = &account.answers_to(&id)[0].outcome else { panic!("{id}") };
        assert_eq!(success.model.version, *version, "{id}");
    }
    let (_, metrics) = get(worker.http(), "/metrics");
    let held = held(&metrics);
    assert!(!held.is_empty() && held.iter().sum::<u64>() <= ALLOWED, "{held:?}");
    wait_until("the memory of those that went is given back", PATIENCE, || {
        let grown = worker.process.resident_bytes().saturating_sub(before);
        if grown < ALLOWED * 2 { Ok(()) } else { Err(format!("{} MB more", grown / 1_000_000)) }
    });
}

#[test]
fn a_version_that_can_t_be_computed_is_told_to_who_names_it_and_the_others_answer() {
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish_one_that_fails(2);
    versions.publish(MODEL, 3);
    let worker = versions.worker(&scene, "w1", &["--set", "models.allow_torchscript=true"]);
    let label = clothes()[0].label.clone();
    let named = requests(1..=3);
    let records: Vec<_> = named.iter().map(|(_, record)| record.clone()).collect();
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |i| match named[i].0 {
        2 => Expect::Error { code: ErrorCode::Unavailable, dead: false },
        _ => Expect::Label(label.clone()),
    });
    scene.settle(&mut account);
    account.assert_whole(0);
    assert_eq!(get(worker.http(), "/readyz").0, 200, "what is meant to be served is");
    let said = scene.client(&["models"]);
    let why = "fashion-mnist 2 was asked for, and is not served: ";
    assert!(said.stderr.contains(why) && said.stderr.contains("could not be computed"), "{said:?}");
    let failed = format!(r#"mlaas_worker_model_loads_total{{model="{MODEL}",outcome="failed"}} 1"#);
    let (_, metrics) = get(worker.http(), "/metrics");
    assert!(metrics.lines().any(|line| line == failed), "once: {metrics}");
}

#[test]
fn who_allows_no_memory_for_them_serves_what_is_configured_alone() {
    let scene = Scene::on(Kind::Embedded);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let _worker = versions.worker(&scene, "w1", &["--set", "models.on_demand_bytes=0"]);
    let named = requests(2..=2);
    let records: Vec<_> = named.into_iter().map(|(_, record)| record).collect();
    let mut account = Account::default();
    let not_found = |_| Expect::Error { code: ErrorCode::NotFound, dead: false };
    account.sent(&records, scene.sender().send(&records), not_found);
    scene.settle(&mut account);
    account.assert_whole(0);
}

/// `client load`, `unload` and `refresh`, with two workers, and one that starts later.
#[test]
fn versions_are_loaded_and_let_go_by_command_on_each_worker() {
    let scene = Scene::on(Kind::Kafka);
    let versions = Versions::new(&scene);
    versions.publish(MODEL, 2);
    let control = format!("topics.control={}", scene.topics.control);
    let flags = ["--set", control.as_str(), "--set", "models.poll_interval=1h"];
    let _workers = ["w1", "w2"].map(|name| versions.worker(&scene, name, &flags));
    let client =
        |arguments: &[&str]| scene.client(&[arguments, &["--topic", &scene.topics.control]].concat());
    let rows = |finished: &Finished| -> Vec<(String, u64)> {
        let rows = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        let row = |row: serde_json::Value| {
            (row["worker"].as_str().unwrap().to_owned(), row["version"].as_u64().unwrap())
        };
        rows.map(row).collect()
    };
    let loaded = client(&["load", MODEL, "2", "--json"]);
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    assert_eq!(rows(&loaded), [("w1".to_owned(), 2), ("w2".to_owned(), 2)]);
    let _third = versions.worker(&scene, "w3", &flags);
    wait_until("the worker that started later loads it too", PATIENCE, || {
        let all = rows(&scene.client(&["models", "--json"]));
        if all.contains(&("w3".to_owned(), 2)) { Ok(()) } else { Err(format!("{all:?}")) }
    });
    let gone = client(&["unload", MODEL, "2", "--json"]);
    assert_eq!((gone.code, rows(&gone)), (Some(0), vec![]), "{gone:?}");
    let absent = client(&["load", MODEL, "9"]);
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert!(absent.stderr.contains("worker w2: fashion-mnist 9 was to be loaded: there is no such version"));
    let kept = client(&["unload", MODEL, "1", "--timeout", "2s"]);
    assert_eq!(kept.code, Some(4), "{kept:?}");
    assert!(kept.stderr.contains("w1, w2, w3 still serves fashion-mnist 1 after 2s"), "{kept:?}");
    let unknown = client(&["load", "hat", "1"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there are fashion-mnist"), "{unknown:?}");

    // The topic is deleted and made anew: they hear what is asked on the new one.
    scene.delete_topic(&scene.topics.control);
    scene.make_topic_anew(&scene.topics.control);
    wait_until("each worker hears what lies on the new topic", PATIENCE, || {
        let loaded = client(&["load", MODEL, "2", "--json", "--timeout", "5s"]);
        if loaded.code == Some(0) { Ok(()) } else { Err(format!("{loaded:?}")) }
    });

    // Nobody would look for an hour.
    versions.promote(2);
    assert_eq!(client(&["refresh"]).code, Some(0));
    wait_until("each worker serves what was promoted", PATIENCE, || {
        let all = rows(&scene.client(&["models", "--json"]));
        if all.len() == 3 && all.iter().all(|(_, version)| *version == 2) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    });
}
