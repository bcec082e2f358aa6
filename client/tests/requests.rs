//! The library against an embedded broker: who gets which answer, and when there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use client::{Client, ClientConfig, ClientError, Incoming, Listener, Options, Start, each};
use kafka::embedded::{ApiKey, MAX_RECORD_BYTES, RespErr, WINDOW_BYTES};
use kafka::{EmbeddedBroker, Role, Settings, Topics};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use support::{PATIENCE, Received, Responder, broker, closed_port, eventually, limited, put};
use wire::{Encoding, ErrorCode, Outcome, Response, TraceContext};

fn config(broker: &EmbeddedBroker) -> ClientConfig {
    ClientConfig::new(broker.bootstrap_servers()).timeout(PATIENCE)
}

/// The next result on the topic.
async fn next(listener: &mut Listener) -> Incoming {
    limited("the next result", listener.next()).await.unwrap().unwrap()
}

async fn connect(broker: &EmbeddedBroker) -> Client {
    Client::connect(config(broker)).await.unwrap()
}

fn within(timeout: Duration) -> Options {
    Options::default().timeout(timeout)
}

fn label(response: &Response) -> &str {
    match &response.outcome {
        Outcome::Success(success) => &success.predictions[0].label,
        Outcome::Error(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_callers_at_once_each_get_their_own_answer() {
    let broker = broker(4);
    // The last asked is answered first, so that an answer goes astray wherever order is relied on.
    let mut held = Vec::new();
    let _responder = Responder::start(&broker, move |received| match received {
        Some(received) => {
            held.push(received);
            Vec::new()
        }
        None => held.drain(..).rev().map(|r| (r.success(), r)).map(|(a, r)| (r, vec![a])).collect(),
    });
    let client = connect(&broker).await;
    let callers: Vec<_> = (0..500)
        .map(|n| {
            let client = client.clone();
            let format = Encoding::ALL[n % 3];
            tokio::spawn(async move {
                let image = format!("image {n}");
                let options = Options::default().format(format);
                let response = client.predict(image.clone().into_bytes(), options).await.unwrap();
                assert_eq!(label(&response), image);
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(client.open_requests(), 0);
}

#[tokio::test]
async fn what_is_asked_arrives_and_the_deadline_with_it() {
    let broker = broker(2);
    let (seen, requests) = mpsc::channel();
    let _responder = Responder::start(&broker, move |received| {
        let reply = received.map(|r| (r.success(), r));
        reply
            .map(|(response, r)| {
                seen.send((r.envelope.clone(), r.request.clone(), r.key.clone())).unwrap();
                (r, vec![response])
            })
            .into_iter()
            .collect()
    });
    let client = connect(&broker).await;
    let trace = TraceContext {
        parent: Some(format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16))),
        ..Default::default()
    };
    let options = Options::model("bird")
        .version(3)
        .top_k(2)
        .priority(1)
        .format(Encoding::Raw)
        .key("in order")
        .timeout(PATIENCE)
        .trace(trace.clone());
    let before = jiff::Timestamp::now();
    let response = client.predict(b"x".to_vec(), options).await.unwrap();
    let after = jiff::Timestamp::now();
    let (envelope, request, key) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(request.model.as_deref(), Some("bird"));
    assert_eq!((request.model_version, request.top_k, request.priority), (Some(3), Some(2), Some(1)));
    assert_eq!(key, b"in order");
    assert_eq!(envelope.trace, trace);
    assert_eq!(envelope.reply_to.partition, Some(client.reply_partition()));
    let deadline = request.deadline.unwrap();
    assert!(deadline >= before + PATIENCE && deadline <= after + PATIENCE, "{deadline}");
    assert_eq!(response.request_id, request.id);

    client.predict(b"y".to_vec(), Options::default()).await.unwrap();
    let (_, request, key) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(key, request.id.as_bytes(), "the key is the request id where none is given");
    assert_eq!(
        (request.model, request.model_version, request.top_k, request.priority),
        (None, None, None, None)
    );
}

#[tokio::test]
async fn an_error_reply_is_an_answer() {
    let broker = broker(1);
    let _responder = Responder::start(&broker, |received| {
        received
            .map(|r| (r.error(ErrorCode::NotFound, "no such model"), r))
            .map(|(a, r)| (r, vec![a]))
            .into_iter()
            .collect()
    });
    let response = connect(&broker).await.predict(b"x".to_vec(), Options::default()).await.unwrap();
    let Outcome::Error(error) = response.outcome else { panic!("{response:?}") };
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn without_an_answer_there_is_a_timeout_that_says_whether_the_broker_has_the_request() {
    let broker = broker(1);
    let client = connect(&broker).await;
    let mut ticket = client.submit(b"x".to_vec(), &within(Duration::from_secs(3))).await.unwrap();
    ticket.acknowledged().await.unwrap();
    let error = ticket.answer().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { acknowledged: true, .. }), "{error:?}");
    assert_eq!(client.open_requests(), 0);

    broker.broker_down().unwrap();
    let error = client.predict(b"x".to_vec(), within(Duration::from_millis(300))).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { acknowledged: false, .. }), "{error:?}");
    assert_eq!(client.open_requests(), 0);
}

#[tokio::test]
async fn a_duplicate_answer_is_delivered_once_and_disturbs_nobody() {
    let broker = broker(1);
    let _responder = Responder::start(&broker, |received| {
        received
            .map(|r| (r.success(), r))
            .map(|(a, r)| (r, vec![a.clone(), a.clone(), a]))
            .into_iter()
            .collect()
    });
    let client = connect(&broker).await;
    let mut listener = Listener::open(&config(&broker), Start::End).await.unwrap();
    for n in 0..20 {
        let image = format!("image {n}");
        let response = client.predict(image.clone().into_bytes(), Options::default()).await.unwrap();
        assert_eq!(label(&response), image);
    }
    assert_eq!(client.open_requests(), 0);
    // They were really there.
    for _ in 0..60 {
        next(&mut listener).await.response.unwrap();
    }
}

#[tokio::test]
async fn late_answers_and_strangers_records_are_ignored() {
    let broker = broker(1);
    let released = Arc::new(AtomicBool::new(false));
    let release = Arc::clone(&released);
    let mut held: Vec<Received> = Vec::new();
    let _responder = Responder::start(&broker, move |received| {
        held.extend(received);
        if !release.load(Ordering::Relaxed) {
            return Vec::new();
        }
        held.drain(..).map(|r| (r.success(), r)).map(|(a, r)| (r, vec![a])).collect()
    });
    let client = connect(&broker).await;
    let mut listener = Listener::open(&config(&broker), Start::End).await.unwrap();
    client.predict(b"first".to_vec(), within(Duration::from_millis(200))).await.unwrap_err();
    put(&broker, &Topics::default().results, 0, "k", Some(b"not an answer"));
    put(&broker, &Topics::default().results, 0, "k", None);
    released.store(true, Ordering::Relaxed);
    let response = client.predict(b"second".to_vec(), Options::default()).await.unwrap();
    assert_eq!(label(&response), "second");
    let mut answers = Vec::new();
    while answers.len() < 2 {
        answers.extend(next(&mut listener).await.response.ok().map(|r| label(&r).to_owned()));
    }
    assert_eq!(answers, ["first", "second"], "the late one did come");
}

#[tokio::test]
async fn dropping_a_future_frees_its_place() {
    let broker = broker(1);
    let _responder = Responder::start(&broker, |received| {
        let reply = received.filter(|r| *r.request.image != *b"ignored").map(|r| (r.success(), r));
        reply.map(|(a, r)| (r, vec![a])).into_iter().collect()
    });
    let client = Client::connect(config(&broker).max_in_flight(1, 64 << 20)).await.unwrap();
    let ignored = tokio::spawn({
        let client = client.clone();
        async move { client.predict(b"ignored".to_vec(), Options::default()).await }
    });
    eventually("the requests are as open as expected", || client.open_requests() > 0).await;
    // Its time includes the wait for a place, which is taken.
    let error = client.predict(b"no place".to_vec(), within(Duration::from_millis(100))).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { acknowledged: false, .. }), "{error:?}");
    ignored.abort();
    assert!(ignored.await.unwrap_err().is_cancelled());
    let response = client.predict(b"next".to_vec(), Options::default()).await.unwrap();
    assert_eq!(label(&response), "next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_broker_no_more_is_unanswered_than_it_surely_holds() {
    let broker = broker(1);
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let mut held: Vec<Received> = Vec::new();
    // Answers only when nothing more comes: what is held then is all that the sender leaves open.
    let _responder = Responder::start(&broker, move |received| match received {
        Some(received) => {
            held.push(received);
            let open: usize = held.iter().map(|r| r.bytes).sum();
            // One larger than the window goes alone.
            assert!(open <= WINDOW_BYTES || held.len() == 1, "{open} bytes in {} requests", held.len());
            seen.fetch_max(open, Ordering::Relaxed);
            Vec::new()
        }
        None => held.drain(..).map(|r| (r.success(), r)).map(|(a, r)| (r, vec![a])).collect(),
    });
    let client = connect(&broker).await;
    // Four times what a partition holds.
    let images: Vec<Vec<u8>> = (0..210)
        .map(|n| {
            let size = if n == 100 { MAX_RECORD_BYTES - 2000 } else { 100_000 };
            let mut image = format!("{n:-<64}").into_bytes();
            image.resize(size, 0);
            image
        })
        .collect();
    let mut answers = client.predict_batch(each(images), Options::default());
    let mut indices = BTreeSet::new();
    while let Some((index, answer)) = limited("the next answer", answers.next()).await {
        assert_eq!(label(&answer.unwrap()), format!("{index:-<64}"));
        assert!(indices.insert(index), "{index} twice");
    }
    assert_eq!(indices.len(), 210);
    let most = most.load(Ordering::Relaxed);
    assert!(most > WINDOW_BYTES / 2, "the window is used: {most}");
}

#[tokio::test]
async fn an_image_that_the_broker_can_not_hold_is_refused_before_it_is_sent() {
    let broker = broker(1);
    let client = connect(&broker).await;
    let error = client.predict(vec![0; MAX_RECORD_BYTES], Options::default()).await.unwrap_err();
    assert!(
        matches!(error, ClientError::TooLarge { limit: MAX_RECORD_BYTES, embedded: true, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("2500000") && error.to_string().contains("real Kafka"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_outlive_a_broker_that_is_away_for_a_while() {
    let broker = broker(4);
    let _responder = Responder::echo(&broker);
    let client = connect(&broker).await;
    broker.broker_down().unwrap();
    let callers: Vec<_> = (0..50)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                client.predict(format!("image {n}").into_bytes(), Options::default()).await
            })
        })
        .collect();
    eventually("the requests are as open as expected", || client.open_requests() == 50).await;
    broker.broker_up().unwrap();
    for (n, caller) in callers.into_iter().enumerate() {
        assert_eq!(label(&caller.await.unwrap().unwrap()), format!("image {n}"));
    }
}

#[tokio::test]
async fn a_record_that_the_broker_refuses_for_good_is_said_at_once() {
    let broker = broker(1);
    let client = connect(&broker).await;
    broker.request_errors(ApiKey::Produce, &[RespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]).unwrap();
    let error = client.predict(b"x".to_vec(), Options::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotDelivered { .. }), "{error:?}");
    assert_eq!(client.open_requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_on_one_reply_partition_do_not_take_each_others_answers() {
    let broker = broker(1);
    let _responder = Responder::echo(&broker);
    let clients = [connect(&broker).await, connect(&broker).await];
    assert_eq!(clients[0].reply_partition(), clients[1].reply_partition());
    let callers: Vec<_> = (0..100)
        .map(|n| {
            let client = clients[n % 2].clone();
            tokio::spawn(async move {
                client.predict(format!("image {n}").into_bytes(), Options::default()).await
            })
        })
        .collect();
    for (n, caller) in callers.into_iter().enumerate() {
        assert_eq!(label(&caller.await.unwrap().unwrap()), format!("image {n}"));
    }
}

#[tokio::test]
async fn a_batch_that_is_dropped_gives_up_what_is_open() {
    let broker = broker(1);
    let client = connect(&broker).await;
    let answers = client.predict_batch(each((0..100).map(|n| vec![n; 10])), Options::default());
    eventually("the requests are as open as expected", || client.open_requests() > 0).await;
    drop(answers);
    eventually("the requests are as open as expected", || client.open_requests() == 0).await;
}

#[tokio::test]
async fn send_returns_the_id_that_a_listener_sees() {
    let broker = broker(4);
    let _responder = Responder::echo(&broker);
    let mut listener = Listener::open(&config(&broker), Start::End).await.unwrap();
    let client = connect(&broker).await;
    let id = client.send(b"x".to_vec(), Options::default()).await.unwrap();
    let incoming = next(&mut listener).await;
    assert_eq!(incoming.request_id.as_deref(), Some(id.as_str()));
    // Its place is kept until the answer is there.
    eventually("the requests are as open as expected", || client.open_requests() == 0).await;
}

#[tokio::test]
async fn nothing_is_committed() {
    let broker = broker(2);
    let _responder = Responder::echo(&broker);
    {
        let client = connect(&broker).await;
        let mut listener = Listener::open(&config(&broker), Start::Beginning).await.unwrap();
        for _ in 0..20 {
            client.predict(b"x".to_vec(), Options::default()).await.unwrap();
            next(&mut listener).await;
        }
    }
    let mut config = Settings::default().client_config(&broker.broker(), Role::Consumer).unwrap();
    let consumer: BaseConsumer = config.set("group.id", "mlaas-client").create().unwrap();
    let mut partitions = TopicPartitionList::new();
    for topic in Topics::default().names() {
        partitions.add_partition_range(topic, 0, 1);
    }
    let committed = consumer.committed_offsets(partitions, PATIENCE).unwrap();
    assert!(committed.elements().iter().all(|e| e.offset() == Offset::Invalid), "{committed:?}");
}

#[tokio::test]
async fn a_broker_that_is_not_there_and_a_topic_that_is_not_there_are_named() {
    let address = closed_port();
    let connect_timeout = Duration::from_millis(1000);
    let away = ClientConfig::new(&address).connect_timeout(connect_timeout);
    let error = Client::connect(away).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)) && error.to_string().contains(&address), "{error}");

    let broker = broker(1);
    let mut config = config(&broker).connect_timeout(connect_timeout);
    config.topics.requests = "not.there".to_owned();
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(&error, ClientError::NoTopic { topic, .. } if topic == "not.there"), "{error}");
}

#[tokio::test]
async fn a_topic_that_comes_while_connecting_is_waited_for() {
    let broker = EmbeddedBroker::start(&["predict.results"], 1).unwrap();
    let connecting = tokio::spawn(Client::connect(config(&broker)));
    // Whether it looks before or after, it must find it.
    broker.create_topic("predict.requests", 1).unwrap();
    limited("the connection", connecting).await.unwrap().unwrap();
}
