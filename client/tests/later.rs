//! Answers that another connection asks for later, and the view of the workers that is kept up to date.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use std::time::Duration;

use client::{
    Announcement, Claim, Client, ClientConfig, Looked, Options, Outcome, ReplyPartition, Results, Watch,
};
use jiff::Timestamp;
use kafka::{EmbeddedBroker, Topics};
use support::{PATIENCE, Responder, broker, eventually, limited, put};

fn config(broker: &EmbeddedBroker) -> ClientConfig {
    ClientConfig::new(broker.bootstrap_servers()).timeout(PATIENCE)
}

async fn look(results: &Results, claim: &Claim) -> Looked {
    limited("a look", results.look(claim, PATIENCE)).await.unwrap()
}

/// Looks until the answer is there, each time behind what was read before.
async fn found(results: &Results, claim: &Claim) -> String {
    let mut claim = claim.clone();
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        assert!(std::time::Instant::now() < end, "the answer does not come");
        match look(results, &claim).await {
            Looked::Found(response) => match response.outcome {
                Outcome::Success(success) => return success.predictions[0].label.clone(),
                Outcome::Error(error) => panic!("{error:?}"),
            },
            Looked::NotThere { next } | Looked::NotReadToItsEnd { next } => claim.offset = next,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_found_by_another_connection_after_the_first_has_gone() {
    let broker = broker(3);
    let other = Results::connect(&config(&broker), 2).await.unwrap();
    let client =
        Client::connect(config(&broker).reply_partition(ReplyPartition::OfName("g".into()))).await.unwrap();
    let mut claims = Vec::new();
    for n in 0..5 {
        let image = format!("image {n}").into_bytes();
        claims.push(limited("a place", client.send_for_later(image, Options::default())).await.unwrap());
    }
    assert!(claims.iter().all(|claim| claim.partition == client.reply_partition()));
    assert!(matches!(look(&other, &claims[0]).await, Looked::NotThere { .. }));
    limited("the end", client.close()).await.unwrap();
    let _responder = Responder::echo(&broker);
    for (n, claim) in claims.iter().enumerate() {
        assert_eq!(found(&other, &claim.to_string().parse().unwrap()).await, format!("image {n}"));
    }
    // The offset that a claim names is no earlier than it need be: what was answered before is not read again.
    let client =
        Client::connect(config(&broker).reply_partition(ReplyPartition::OfName("g".into()))).await.unwrap();
    client.predict(b"one".to_vec(), Options::default()).await.unwrap();
    let claim = client.send_for_later(b"two".to_vec(), Options::default()).await.unwrap();
    assert_eq!(claim.offset, 6);
    assert_eq!(found(&other, &claim).await, "two");
    // What somebody made up is not there.
    for (partition, offset) in [(99, 0), (0, 1 << 40)] {
        let made_up = Claim { partition, offset, ..claim.clone() };
        assert_eq!(look(&other, &made_up).await, Looked::NotThere { next: offset });
    }
    let made_up = Claim { request_id: claim.request_id.replace('7', "8"), offset: 0, ..claim.clone() };
    assert_eq!(look(&other, &made_up).await, Looked::NotThere { next: 7 });
    let no_time = limited("a look", other.look(&Claim { offset: 0, ..claim }, Duration::ZERO)).await.unwrap();
    assert!(matches!(no_time, Looked::NotReadToItsEnd { next: 0 }), "{no_time:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_of_the_workers_follows_what_they_say_and_whether_the_broker_answers() {
    let broker = broker(1);
    let word = |model: &str, ttl_s| Announcement {
        worker: "w".into(),
        requests_topic: Topics::default().requests,
        model: model.into(),
        version: 1,
        digest: String::new(),
        architecture: "a".into(),
        labels: 2,
        default: false,
        loading: false,
        memory_bytes: None,
        traffic_percent: None,
        shadow_percent: None,
        announced_at: Timestamp::now(),
        ttl_s,
        skipped: Vec::new(),
    };
    let say =
        |word: &Announcement| put(&broker, &Topics::default().models, 0, &word.key(), Some(&word.encode()));
    say(&word("before", 3600));
    let watch = Watch::open(&config(&broker)).await.unwrap();
    let served = || watch.world().served().iter().map(|word| word.model.clone()).collect::<Vec<_>>();
    eventually("what was said before is known", || served() == ["before"]).await;
    say(&word("after", 3600));
    put(&broker, &Topics::default().models, 0, "x", Some(b"not an announcement"));
    say(&word("short", 1));
    eventually("what is said is known", || served() == ["after", "before", "short"]).await;
    put(&broker, &Topics::default().models, 0, "w/before/1", None);
    eventually("what is taken back or past its time is not", || served() == ["after"]).await;
    assert!(watch.world().fault.is_none());
    broker.broker_down().unwrap();
    eventually("the broker's silence is known", || watch.world().fault.is_some()).await;
    assert_eq!(served(), ["after"], "what was said still holds");
    broker.broker_up().unwrap();
    eventually("it answers", || watch.world().fault.is_none()).await;
}
