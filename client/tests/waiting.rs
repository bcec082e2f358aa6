//! How long the library waits, and what for: deadlines, time-outs, workers that are slow or away, and the connection's end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use client::{Client, ClientConfig, ClientError, Listener, Options, Outcome, Response, Start, each};
use jiff::Timestamp;
use kafka::EmbeddedBroker;
use kafka::embedded::{ApiKey, RespErr};
use support::{PATIENCE, Received, Responder, broker, eventually, limited};
use wire::ErrorCode;

fn config(broker: &EmbeddedBroker) -> ClientConfig {
    ClientConfig::new(broker.bootstrap_servers()).timeout(PATIENCE)
}

async fn connect(broker: &EmbeddedBroker) -> Client {
    Client::connect(config(broker)).await.unwrap()
}

fn answered(received: Received) -> (Received, Vec<Response>) {
    let response = received.success();
    (received, vec![response])
}

/// Answers one request at a time, each after a while, and one whose deadline is over with an error, as a worker does.
fn slow(broker: &EmbeddedBroker, each: Duration) -> Responder {
    Responder::start(broker, move |received| {
        let Some(received) = received else { return Vec::new() };
        if received.request.deadline.is_some_and(|deadline| deadline < Timestamp::now()) {
            let late = received.error(ErrorCode::DeadlineExceeded, "too late");
            return vec![(received, vec![late])];
        }
        std::thread::sleep(each);
        vec![answered(received)]
    })
}

#[tokio::test]
async fn a_request_whose_answer_nobody_waits_for_has_no_deadline_unless_it_is_given_one() {
    let broker = broker(1);
    let (seen, requests) = mpsc::channel();
    let _responder = Responder::start(&broker, move |received| {
        let received = received.map(|r| {
            // They go together.
            assert_eq!(r.request.deadline.is_some(), r.request.timeout_ms.is_some());
            seen.send(r.request.deadline).unwrap();
            answered(r)
        });
        received.into_iter().collect()
    });
    let client = connect(&broker).await;
    let deadline = || requests.recv_timeout(PATIENCE).unwrap();
    client.send(b"x".to_vec(), Options::default()).await.unwrap();
    assert_eq!(deadline(), None);
    client.send(b"x".to_vec(), Options::default().timeout(PATIENCE)).await.unwrap();
    assert_eq!(deadline(), None, "that is for the acknowledgement");
    let hour = Duration::from_secs(3600);
    let before = Timestamp::now();
    client.send(b"x".to_vec(), Options::default().deadline(hour)).await.unwrap();
    let asked = deadline().unwrap();
    assert!(asked >= before + hour && asked <= Timestamp::now() + hour, "{asked}");
    client.predict(b"x".to_vec(), Options::default()).await.unwrap();
    assert!(deadline().is_some(), "somebody waits");
    client.predict(b"x".to_vec(), Options::default().deadline(hour)).await.unwrap();
    assert!(deadline().unwrap() > Timestamp::now() + PATIENCE, "what is asked for goes before the time-out");
}

/// Each takes a thirtieth of the time-out, so that of all sent at once two thirds would expire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_worker_lets_nothing_expire_that_it_never_could_have_reached() {
    let broker = broker(1);
    let _responder = slow(&broker, Duration::from_millis(100));
    let client = connect(&broker).await;
    let options = Options::default().timeout(Duration::from_secs(3));
    let mut answers = client.predict_batch(each((0..90).map(|n| vec![n])), options);
    let mut labels = 0;
    while let Some((index, answer)) = limited("an answer", answers.next()).await {
        let response = answer.unwrap();
        assert!(matches!(response.outcome, Outcome::Success(_)), "{index}: {response:?}");
        labels += 1;
    }
    assert_eq!(labels, 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_answers_a_batch_ends_soon_and_goes_on_where_somebody_does_again() {
    let broker = broker(1);
    let (away, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let _responder = {
        let (away, asked) = (Arc::clone(&away), Arc::clone(&asked));
        Responder::start(&broker, move |received| {
            asked.fetch_add(usize::from(received.is_some()), Ordering::Relaxed);
            let answer = !away.load(Ordering::Relaxed);
            received.filter(|_| answer).map(answered).into_iter().collect()
        })
    };
    let client = connect(&broker).await;
    let options = Options::default().timeout(Duration::from_secs(1));
    let mut answers = client.predict_batch(each((0..200).map(|n| vec![n])), options.clone());
    let mut kinds = BTreeMap::<_, usize>::new();
    // One after the other their time-outs would be 200 s.
    limited("the end of all", async {
        while let Some((_, answer)) = answers.next().await {
            let kind = match answer.unwrap_err() {
                ClientError::Timeout { .. } => "timeout",
                ClientError::Stalled { .. } => "stalled",
                other => panic!("{other}"),
            };
            *kinds.entry(kind).or_default() += 1;
        }
    })
    .await;
    assert!(kinds["stalled"] > 150 && kinds["timeout"] >= 4, "{kinds:?}");
    assert!(asked.load(Ordering::Relaxed) < 50);

    away.store(false, Ordering::Relaxed);
    let mut answers = client.predict_batch(each((0..50).map(|n| vec![n])), options.timeout(PATIENCE));
    while let Some((_, answer)) = limited("an answer", answers.next()).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn times_without_end_are_no_limit_and_no_time_is_refused() {
    let broker = broker(1);
    let _responder = Responder::echo(&broker);
    let config = config(&broker).timeout(Duration::MAX).connect_timeout(Duration::MAX);
    let client = Client::connect(config.clone()).await.unwrap();
    for options in [
        Options::default(),
        Options::default().timeout(Duration::MAX),
        Options::default().deadline(Duration::MAX),
        Options::default().timeout(Duration::from_secs(u64::MAX / 2)),
    ] {
        limited("the answer", client.predict(b"x".to_vec(), options.clone())).await.unwrap();
        limited("the id", client.send(b"x".to_vec(), options.clone())).await.unwrap();
        limited("the answer", client.submit(b"x".to_vec(), &options).await.unwrap().answer()).await.unwrap();
    }
    limited("the listener", Listener::open(&config, Start::End)).await.unwrap();

    for options in [Options::default().timeout(Duration::ZERO), Options::default().deadline(Duration::ZERO)] {
        let error = client.predict(b"x".to_vec(), options).await.unwrap_err();
        assert!(matches!(error, ClientError::NoTime { .. }), "{error}");
    }
    for config in [config.clone().timeout(Duration::ZERO), config.connect_timeout(Duration::ZERO)] {
        let error = Client::connect(config).await.unwrap_err();
        assert!(matches!(error, ClientError::NoTime { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_ticket_whose_request_was_refused_says_so_however_often_it_is_asked() {
    let broker = broker(1);
    let client = connect(&broker).await;
    broker.request_errors(ApiKey::Produce, &[RespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]).unwrap();
    let mut ticket = client.submit(b"x".to_vec(), &Options::default()).await.unwrap();
    for _ in 0..3 {
        let error = limited("the refusal", ticket.acknowledged()).await.unwrap_err();
        assert!(matches!(error, ClientError::NotAllowed { .. }), "{error:?}");
    }
    let error = limited("the refusal", ticket.answer()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotAllowed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_ticket_that_outlives_its_client_does_not_wait() {
    let broker = broker(1);
    let client = connect(&broker).await;
    let mut ticket = client.submit(b"x".to_vec(), &Options::default().timeout(Duration::MAX)).await.unwrap();
    ticket.acknowledged().await.unwrap();
    let waiting = tokio::spawn(ticket.answer());
    drop(client);
    let error = limited("the end", waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Closed), "{error:?}");
}

#[tokio::test]
async fn a_closed_client_has_delivered_what_was_sent_and_takes_nothing_more() {
    let broker = broker(1);
    let client = connect(&broker).await;
    let mut listener = Listener::open(&config(&broker), Start::Beginning).await.unwrap();
    // Tried again after longer and longer pauses: it takes more than the half second that any producer gives at its end.
    broker.request_errors(ApiKey::Produce, &[RespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 5]).unwrap();
    let mut tickets = Vec::new();
    for n in 0..50 {
        tickets.push(client.enqueue(vec![n], &Options::default()).await.unwrap());
    }
    let clone = client.clone();
    limited("the end", client.close()).await.unwrap();
    limited("the end", client.close()).await.unwrap();
    let error = clone.predict(b"x".to_vec(), Options::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Closed), "{error:?}");
    for mut ticket in tickets {
        limited("the acknowledgement", ticket.acknowledged()).await.unwrap();
        assert!(matches!(ticket.answer().await, Err(ClientError::Closed)));
    }
    // All are on the topic.
    let _responder = Responder::echo(&broker);
    for _ in 0..50 {
        limited("a result", listener.next()).await.unwrap().unwrap().response.unwrap();
    }
    limited("the end", listener.close()).await.unwrap();
}

#[tokio::test]
async fn as_many_open_requests_as_a_number_can_say_are_no_limit_and_none_is_one() {
    let broker = broker(1);
    let _responder = Responder::echo(&broker);
    for most in [usize::MAX, 0] {
        let client = Client::connect(config(&broker).max_in_flight(most, most)).await.unwrap();
        let mut answers = client.predict_batch(each((0..10).map(|n| vec![n])), Options::default());
        for _ in 0..10 {
            limited("an answer", answers.next()).await.unwrap().1.unwrap();
        }
        assert!(limited("the end", answers.next()).await.is_none());
    }
}

#[tokio::test]
#[should_panic(expected = "out of images")]
async fn a_panic_of_the_images_is_not_the_end_of_a_batch() {
    let broker = broker(1);
    let _responder = Responder::echo(&broker);
    let client = connect(&broker).await;
    let images = (0..10).map(|n| if n < 5 { vec![n] } else { panic!("out of images") });
    let mut answers = client.predict_batch(each(images), Options::default());
    while limited("an answer", answers.next()).await.is_some() {}
}

#[tokio::test]
async fn on_the_embedded_broker_what_is_sent_keeps_its_place_while_answers_come() {
    let broker = broker(1);
    let (seen, known) = mpsc::channel();
    let _responder = Responder::start(&broker, move |received| {
        seen.send(received.is_some()).ok();
        Vec::new()
    });
    let client = Client::connect(config(&broker).timeout(Duration::from_secs(1))).await.unwrap();
    client.send(b"x".to_vec(), Options::default()).await.unwrap();
    while !known.recv_timeout(PATIENCE).unwrap() {}
    assert_eq!(client.open_requests(), 1);
    // Nothing is answered for the whole time-out: it is given up.
    eventually("its place is free", || client.open_requests() == 0).await;
}

/// As where the topic was made a moment ago, or a broker has gone.
#[tokio::test]
async fn a_partition_whose_leader_moves_is_asked_again() {
    let broker = broker(1);
    let _responder = Responder::echo(&broker);
    let moved = [RespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 4];
    broker.request_errors(ApiKey::ListOffsets, &moved).unwrap();
    let client = limited("the connection", connect(&broker)).await;
    limited("the answer", client.predict(b"x".to_vec(), Options::default())).await.unwrap();
}
