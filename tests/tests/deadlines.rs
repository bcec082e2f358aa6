//! For how long a request may wait, by whose clock.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::PATIENCE;
use e2e::images::clothes;
use e2e::layout::Layout;
use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use wire::{ErrorCode, Outcome, Response};

use crate::{BIRD_ONLY, FASHION_ONLY};

const HOUR: Duration = Duration::from_secs(3600);

/// What becomes of a request that allows half a minute, from a sender whose clock is an hour behind; its deadline, by the same
/// clock, is in the past. A fresh one beside it is answered with its label on any topic.
fn an_hour_behind(layout: &Layout) -> Outcome {
    let scene = Scene::laid_out(Kind::Kafka, layout);
    let sample = &clothes()[0];
    let allowed = |id: &str| Record::bytes(id, sample.bytes.clone()).header("ce_timeoutms", "30000");
    let behind = SystemTime::now() - HOUR;
    let milliseconds = i64::try_from(behind.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let deadline = jiff::Timestamp::from_millisecond(milliseconds + 30_000).unwrap().to_string();
    let records = [allowed("fresh"), allowed("behind").header("ce_deadline", deadline).written(milliseconds)];
    let _worker = scene.worker("w1", FASHION_ONLY);
    drop(scene.sender().send(&records));
    let mut results = scene.results();
    results.read_count(records.len(), PATIENCE);
    let outcome = |id: &str| {
        let answer = results.seen.iter().find(|answer| answer.id().as_deref() == Some(id)).unwrap();
        Response::decode(&answer.headers, answer.value.as_deref().unwrap()).unwrap().outcome
    };
    assert!(matches!(outcome("fresh"), Outcome::Success(_)), "{:?}", outcome("fresh"));
    outcome("behind")
}

/// The request topic as a worker makes it.
#[test]
fn a_sender_s_clock_does_no_harm_where_the_broker_s_counts() {
    let outcome = an_hour_behind(&Layout::default());
    assert!(matches!(outcome, Outcome::Success(_)), "{outcome:?}");
}

#[test]
fn a_sender_s_clock_counts_where_the_topic_is_made_so() {
    let requests = &[("message.timestamp.type", "CreateTime")];
    let outcome = an_hour_behind(&Layout { requests, ..Layout::default() });
    let Outcome::Error(error) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error:?}");
}

/// Requests that nobody waits for have no deadline: a worker that comes later than anybody would wait answers them all.
#[test]
#[ignore = "the worker comes 35 s late: make test-more"]
fn a_worker_that_comes_late_answers_what_nobody_waits_for() {
    let scene = Scene::on(Kind::Kafka);
    let folder = scene.folder.join("queued");
    std::fs::create_dir_all(&folder).unwrap();
    let mut labels = BTreeMap::new();
    for (i, sample) in clothes().into_iter().cycle().take(40).enumerate() {
        let file = folder.join(format!("{i}.png"));
        std::fs::write(&file, sample.bytes).unwrap();
        labels.insert(file.display().to_string(), sample.label);
    }
    let sent = scene.client(&["send", "--model", "fashion-mnist", "--json", &folder.display().to_string()]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    // How late it comes is what this is about.
    std::thread::sleep(Duration::from_secs(35));
    let _worker = scene.worker("late", FASHION_ONLY);
    let mut results = scene.results();
    results.read_count(40, PATIENCE);
    let asked = sent.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let asked = asked.collect::<Vec<_>>();
    assert_eq!(asked.len(), 40);
    for line in asked {
        let (id, file) = (line["request_id"].as_str().unwrap(), line["file"].as_str().unwrap());
        let answer = results.seen.iter().find(|answer| answer.id().as_deref() == Some(id)).unwrap();
        let answer = Response::decode(&answer.headers, answer.value.as_deref().unwrap()).unwrap();
        let Outcome::Success(success) = answer.outcome else { panic!("{file}: {answer:?}") };
        assert_eq!(success.predictions[0].label, labels[file], "{file}");
    }
}

/// Somebody waits, the images together take several times the time that each is given, and each is answered in its time: no more
/// are sent at once than the worker can reach.
#[test]
#[ignore = "a worker has seconds of work: make test-more"]
fn a_worker_that_is_slow_lets_nothing_expire() {
    const IMAGES: usize = 1000;
    // A minute and a half of one core.
    const LIMIT: Duration = Duration::from_secs(900);
    e2e::current_test::limit(LIMIT);
    let scene = Scene::on(Kind::Kafka);
    let _worker = scene.worker("slow", &[BIRD_ONLY, &["--max-batch-size=1"]].concat());
    let folder = scene.folder.join("hens");
    std::fs::create_dir_all(&folder).unwrap();
    for i in 0..IMAGES {
        std::fs::copy(e2e::paths::sample("hen.webp"), folder.join(format!("{i}.webp"))).unwrap();
    }
    let folder = folder.display().to_string();
    let arguments = ["send", "--wait", "--timeout", "5s", "--json", "--model", "bird", &folder];
    let sent = Process::run("client", scene.client_command(&arguments), LIMIT);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(sent.stdout.lines().filter(|line| line.contains("\"hen\"")).count(), IMAGES);
}
