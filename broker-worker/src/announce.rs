//! Says on a compacted topic what this worker serves: at start, again every few seconds, and a tombstone at the end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wire::{Announcement, Headers, SkippedModel, header};

use crate::models::{Models, Skipped};
use crate::outbox::{Announcements, Message};

/// How often.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// For how many seconds an announcement holds: two may be missed.
const TTL_S: u32 = 30;

/// What a worker says about itself.
pub struct Announcer {
    outbox: Arc<dyn Announcements>,
    models: Models,
    worker: String,
    requests_topic: String,
    topic: String,
}

impl Announcer {
    /// `topic` is where announcements go.
    #[must_use]
    pub fn new(
        outbox: Arc<dyn Announcements>,
        models: Models,
        worker: String,
        topics: &kafka::Topics,
    ) -> Self {
        let (requests_topic, topic) = (topics.requests.clone(), topics.models.clone());
        Self { outbox, models, worker, requests_topic, topic }
    }

    /// Announces until the token is cancelled, then takes it back.
    pub async fn run(self, end: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.say(true),
                () = end.cancelled() => return self.say(false),
            }
        }
    }

    fn say(&self, serving: bool) {
        for served in self.models.iter() {
            let announcement = Announcement {
                worker: self.worker.clone(),
                requests_topic: self.requests_topic.clone(),
                model: served.id.name.clone(),
                version: served.id.version,
                digest: served.id.digest.clone(),
                architecture: served.architecture.clone(),
                labels: served.labels(),
                default: self.models.is_default(served),
                announced_at: Timestamp::now(),
                ttl_s: TTL_S,
                skipped: self.models.skipped().iter().map(skipped).collect(),
            };
            let mut headers = Headers::new();
            headers.push(header::CONTENT_TYPE, wire::encoding::JSON);
            let message = Message {
                topic: self.topic.clone(),
                partition: None,
                key: Some(Cow::Owned(announcement.key().into_bytes())),
                value: serving.then(|| Cow::Owned(announcement.encode())),
                headers,
            };
            if let Err(fault) = self.outbox.announce(message) {
                tracing::debug!(%fault, cause = fault.words(), "an announcement was not sent; the next one may be");
            }
        }
    }
}

fn skipped(skipped: &Skipped) -> SkippedModel {
    SkippedModel { model: skipped.name.clone(), version: skipped.version, reason: skipped.reason.clone() }
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
        fn announce(&self, message: Message<'_>) -> Result<(), Fault> {
            self.0.lock().unwrap().push(message.into_owned());
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn announces_again_and_again_and_takes_it_back() {
        let served = vec![doubles::served("bird", 2), doubles::served("shoe", 1)];
        let skipped = Skipped { name: "fish".into(), version: None, reason: "no weights".into() };
        let models = Models::with_skipped(served, vec![skipped], "shoe", "weights").unwrap();
        let sent = Arc::new(Sent::default());
        let end = CancellationToken::new();
        let outbox = Arc::clone(&sent) as Arc<dyn Announcements>;
        let announcer = Announcer::new(outbox, models, "w1".into(), &kafka::Topics::default());
        let room = tokio::spawn(announcer.run(end.clone()));
        tokio::time::sleep(INTERVAL + INTERVAL / 2).await;
        end.cancel();
        room.await.unwrap();

        let sent = sent.0.lock().unwrap();
        let said: Vec<_> =
            sent.iter().map(|m| m.value.as_deref().map(|v| Announcement::decode(v).unwrap())).collect();
        assert_eq!(said.len(), 6, "twice said and once taken back, for each of two models");
        let bird = said[0].as_ref().unwrap();
        assert_eq!((bird.model.as_str(), bird.version, bird.default), ("bird", 2, false));
        assert!(said[1].as_ref().unwrap().default);
        assert_eq!((bird.skipped[0].model.as_str(), bird.skipped[0].reason.as_str()), ("fish", "no weights"));
        assert!(said[4].is_none() && said[5].is_none(), "tombstones");
        assert_eq!(sent[4].key.as_deref(), Some(&b"w1/bird/2"[..]));
        assert!(sent.iter().all(|m| m.topic == "predict.models"));
    }
}
