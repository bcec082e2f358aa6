//! Says on a compacted topic what this worker serves: at start, when it changes, again every few seconds, and a tombstone when
//! it serves it no more.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wire::{Announcement, Headers, SkippedModel, header};

use crate::models::{Models, Skipped};
use crate::outbox::{Announcements, Message, Receipt};

/// How often.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// For how many seconds an announcement holds: two may be missed.
const TTL_S: u32 = 30;

/// What a worker says about itself.
pub struct Announcer {
    outbox: Arc<dyn Announcements>,
    models: watch::Receiver<Models>,
    worker: String,
    requests_topic: String,
    topic: String,
    /// The keys under which something is said.
    said: BTreeSet<String>,
}

impl Announcer {
    /// What is served is what `models` says last.
    #[must_use]
    pub fn new(
        outbox: Arc<dyn Announcements>,
        models: watch::Receiver<Models>,
        worker: String,
        topics: &kafka::Topics,
    ) -> Self {
        let (requests_topic, topic) = (topics.requests.clone(), topics.models.clone());
        Self { outbox, models, worker, requests_topic, topic, said: BTreeSet::new() }
    }

    /// Announces until the token is cancelled, then takes it back. `heard` is told when the broker has the first ones, or will not
    /// have them.
    pub async fn run(mut self, heard: oneshot::Sender<()>, end: CancellationToken) {
        let (receipt, mut over) = Receipt::new();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        self.say(&receipt);
        drop(receipt);
        tokio::spawn(async move {
            // Nobody sends anything by it: it is over when the last one who could has gone.
            over.recv().await;
            // Where nobody waits any more, nobody is told.
            heard.send(()).unwrap_or_default();
        });
        let mut changing = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = self.models.changed(), if changing => {
                    // Where nobody follows, what is served is served to the end.
                    changing = changed.is_ok();
                    if !changing { continue }
                }
                () = end.cancelled() => break,
            }
            self.say(&Receipt::none());
        }
        for key in std::mem::take(&mut self.said) {
            self.send(key, None, &Receipt::none());
        }
    }

    /// What is served now, and a tombstone for what was.
    fn say(&mut self, receipt: &Receipt) {
        let models = self.models.borrow_and_update().clone();
        let mut said = BTreeSet::new();
        for served in models.iter() {
            let announcement = Announcement {
                worker: self.worker.clone(),
                requests_topic: self.requests_topic.clone(),
                model: served.id.name.clone(),
                version: served.id.version,
                digest: served.id.digest.clone(),
                architecture: served.architecture.clone(),
                labels: served.labels(),
                default: models.is_default(served),
                loading: !served.is_ready(),
                memory_bytes: Some(served.memory()).filter(|bytes| *bytes > 0),
                traffic_percent: models.percent(served),
                shadow_percent: models.shadow_percent(served),
                announced_at: Timestamp::now(),
                ttl_s: TTL_S,
                skipped: models.skipped().iter().map(skipped).collect(),
            };
            let key = announcement.key();
            self.send(key.clone(), Some(announcement.encode()), receipt);
            said.insert(key);
        }
        for key in self.said.difference(&said) {
            self.send(key.clone(), None, receipt);
        }
        self.said = said;
    }

    fn send(&self, key: String, value: Option<Vec<u8>>, receipt: &Receipt) {
        let mut headers = Headers::new();
        headers.push(header::CONTENT_TYPE, wire::encoding::JSON);
        let message = Message {
            topic: self.topic.clone(),
            partition: None,
            key: Some(Cow::Owned(key.into_bytes())),
            value: value.map(Cow::Owned),
            headers,
        };
        if let Err(fault) = self.outbox.announce(message, receipt.clone()) {
            tracing::debug!(%fault, cause = fault.words(), "an announcement was not sent; the next one may be");
        }
    }
}

fn skipped(skipped: &Skipped) -> SkippedModel {
    SkippedModel {
        model: skipped.wanted.name.clone(),
        version: skipped.version,
        reason: skipped.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use kafka::Fault;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Sent(Mutex<Vec<Message<'static>>>);

    impl Announcements for Sent {
        fn announce(&self, message: Message<'_>, _: Receipt) -> Result<(), Fault> {
            self.0.lock().unwrap().push(message.into_owned());
            Ok(())
        }
    }

    struct Room {
        sent: Arc<Sent>,
        models: watch::Sender<Models>,
        heard: oneshot::Receiver<()>,
        end: CancellationToken,
        room: tokio::task::JoinHandle<()>,
    }

    fn room() -> Room {
        let served = vec![doubles::served("bird", 2), doubles::served("shoe", 1)];
        let fish = doubles::wanted("fish");
        let skipped = Skipped { wanted: fish, version: None, reason: "no weights".into() };
        let models = Models::with_skipped(served, vec![skipped], "shoe", "weights").unwrap();
        let (models, now) = watch::channel(models);
        let (sent, end) = (Arc::new(Sent::default()), CancellationToken::new());
        let outbox = Arc::clone(&sent) as Arc<dyn Announcements>;
        let announcer = Announcer::new(outbox, now, "w1".into(), &kafka::Topics::default());
        let (first, heard) = oneshot::channel();
        let room = tokio::spawn(announcer.run(first, end.clone()));
        Room { sent, models, heard, end, room }
    }

    impl Room {
        fn said(&self) -> Vec<(String, Option<Announcement>)> {
            let sent = self.sent.0.lock().unwrap();
            assert!(sent.iter().all(|m| m.topic == "predict.models"));
            let key = |m: &Message<'_>| String::from_utf8(m.key.clone().unwrap().into_owned()).unwrap();
            let value = |m: &Message<'_>| m.value.as_deref().map(|v| Announcement::decode(v).unwrap());
            sent.iter().map(|m| (key(m), value(m))).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn announces_again_and_again_and_takes_it_back() {
        let mut room = room();
        (&mut room.heard).await.expect("the first ones are over");
        tokio::time::sleep(INTERVAL + INTERVAL / 2).await;
        room.end.cancel();
        (&mut room.room).await.unwrap();

        let said = room.said();
        assert_eq!(said.len(), 6, "twice said and once taken back, for each of two models");
        let bird = said[0].1.as_ref().unwrap();
        assert_eq!((bird.model.as_str(), bird.version, bird.default), ("bird", 2, false));
        assert!(said[1].1.as_ref().unwrap().default);
        assert_eq!((bird.skipped[0].model.as_str(), bird.skipped[0].reason.as_str()), ("fish", "no weights"));
        assert_eq!(said[4..], [("w1/bird/2".into(), None), ("w1/shoe/1".into(), None)], "tombstones");
    }

    #[tokio::test(start_paused = true)]
    async fn another_version_is_announced_at_once_and_the_one_before_taken_back() {
        let mut room = room();
        (&mut room.heard).await.unwrap();
        let now = room.models.borrow().clone();
        let wanted = doubles::wanted_version("bird", 2);
        room.models.send_replace(now.with(&wanted, Arc::new(doubles::served("bird", 3))));
        tokio::time::sleep(INTERVAL / 100).await;
        let said = room.said();
        let of = |(key, value): &(String, Option<Announcement>)| (key.clone(), value.is_some());
        assert_eq!(
            said[2..].iter().map(of).collect::<Vec<_>>(),
            [("w1/bird/3".into(), true), ("w1/shoe/1".into(), true), ("w1/bird/2".into(), false)]
        );
        drop(room.models);
        tokio::time::sleep(INTERVAL * 2).await;
        assert!(!room.room.is_finished(), "what is served is announced although nobody follows");
        room.end.cancel();
        room.room.await.unwrap();
    }
}
