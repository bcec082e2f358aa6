//! For how long a request may wait, by whose clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::PATIENCE;
use e2e::images::clothes;
use e2e::layout::Layout;
use e2e::scene::{Kind, Scene};
use e2e::traffic::Record;
use wire::{ErrorCode, Outcome, Response};

use crate::FASHION_ONLY;

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
