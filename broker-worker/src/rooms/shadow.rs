//! Computes what was answered by another version once more, when the processor has nothing else to do, publishes both answers, and counts
//! how often they agree. It answers nobody, holds no ticket, and whatever goes wrong here is only counted.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use wire::{Comparison, Headers, Labelled, Prediction, header};

use crate::caught::caught;
use crate::lane::Lane;
use crate::metrics::Metrics;
use crate::outbox::{Announcements, Message, Receipt};
use crate::shadow::{Compared, Inbox};

/// As many labels as are published.
const TOP_K: usize = 5;
/// So many records may be on their way to the broker; of what comes then nothing is published.
const ON_THEIR_WAY: usize = 256;

/// The room.
pub struct Shadow {
    outbox: Arc<dyn Announcements>,
    topic: String,
    worker: String,
    metrics: Arc<Metrics>,
    /// A copy of it goes with each record.
    receipt: Receipt,
}

impl Shadow {
    /// What `worker` finds out goes to that topic.
    #[must_use]
    pub fn new(outbox: Arc<dyn Announcements>, topic: String, worker: String, metrics: Arc<Metrics>) -> Self {
        Self { outbox, topic, worker, metrics, receipt: Receipt::new().0 }
    }

    /// Computes one, and says what came of it.
    pub fn step(&self, compared: Compared) {
        let lane = Arc::clone(&compared.beside.lane);
        let model = &lane.model.id;
        let predictions = match label(&lane, &compared.beside.image) {
            Ok(predictions) => predictions,
            Err(error) => {
                let error = &*error as &dyn Error;
                tracing::debug!(?lane, error, request_id = compared.id, "a shadow can't compute an image");
                return self.metrics.shadowed(model, "failed");
            }
        };
        let first = |predictions: &[Prediction]| predictions.first().map(|first| first.label.clone());
        let agree = first(&predictions) == first(&compared.predictions);
        self.metrics.shadowed(model, if agree { "agreed" } else { "disagreed" });
        self.metrics.trials.compared(&model.name, [compared.model.version, model.version], agree);
        self.publish(compared, Labelled { model: model.clone(), predictions }, agree);
    }

    fn publish(&self, compared: Compared, shadow: Labelled, agree: bool) {
        if self.receipt.copies() > ON_THEIR_WAY {
            return;
        }
        let Compared { id, key, model, predictions, .. } = compared;
        let key = key.unwrap_or_else(|| id.clone().into_bytes());
        let comparison = Comparison {
            request_id: id,
            answer: Labelled { model, predictions },
            shadow,
            agree,
            worker: self.worker.clone(),
            computed_at: Timestamp::now(),
        };
        let mut headers = Headers::new();
        headers.push(header::CONTENT_TYPE, wire::encoding::JSON);
        let message = Message {
            topic: self.topic.clone(),
            partition: None,
            key: Some(Cow::Owned(key)),
            value: Some(Cow::Owned(comparison.encode())),
            headers,
        };
        if let Err(fault) = self.outbox.announce(message, self.receipt.clone()) {
            tracing::debug!(%fault, cause = fault.words(), "what a shadow found out was not published");
        }
    }
}

/// By an engine of this room's own, so that no instance waits for it.
fn label(lane: &Lane, image: &[u8]) -> Result<Vec<Prediction>, Box<dyn Error + Send + Sync>> {
    let model = &lane.model;
    let pixels = caught(|| model.prepare(image))??;
    let mut slot = lane.spare();
    let engine = match &mut *slot {
        Some(engine) => engine,
        None => slot.insert(caught(|| model.engine())??),
    };
    let outputs = match caught(|| engine.logits(&[&pixels])) {
        Ok(outputs) => outputs?.pop().ok_or("the engine gave no answer")?,
        Err(panic) => {
            // Nobody knows what state it is in, nor the weights. Its destructor may panic as well.
            let old = slot.take();
            drop(caught(|| drop(old)));
            *slot = Some(caught(|| model.engine_anew())??);
            return Err(panic.into());
        }
    };
    Ok(model.labelled(&pixels, outputs, TOP_K))
}

/// The room's thread, until its input is closed or the worker is asked to end: what waits then is nobody's loss.
pub fn run(shadow: &Shadow, inbox: &Inbox, end: &CancellationToken) {
    only_when_idle();
    while let Some(compared) = inbox.next() {
        if end.is_cancelled() {
            return;
        }
        shadow.step(compared);
    }
}

/// Gives this thread the processor only while no other one wants it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn only_when_idle() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: it is given a pointer to a value that outlives the call, and 0 for the calling thread.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) } != 0;
    if refused {
        let error = std::io::Error::last_os_error();
        tracing::warn!(%error, "shadow versions compute beside those that answer, and may slow them down");
    }
}

#[cfg(not(target_os = "linux"))]
fn only_when_idle() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use crate::shadow::Shadows;
    use kafka::Fault;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Sent(Mutex<Vec<(Message<'static>, Receipt)>>);

    impl Announcements for Sent {
        fn announce(&self, message: Message<'_>, receipt: Receipt) -> Result<(), Fault> {
            self.0.lock().unwrap().push((message.into_owned(), receipt));
            Ok(())
        }
    }

    struct Room {
        sent: Arc<Sent>,
        metrics: Arc<Metrics>,
        shadows: Shadows,
        inbox: Inbox,
        lane: Arc<Lane>,
        room: Shadow,
    }

    fn room() -> Room {
        let (metrics, sent) = (Arc::<Metrics>::default(), Arc::<Sent>::default());
        let (shadows, inbox) = Shadows::new(Arc::clone(&metrics));
        let outbox = Arc::clone(&sent) as Arc<dyn Announcements>;
        let room = Shadow::new(outbox, "predict.shadow".into(), "w1".into(), Arc::clone(&metrics));
        Room { sent, metrics, shadows, inbox, lane: doubles::lane(doubles::served("bird", 2)), room }
    }

    impl Room {
        /// An image of that value, answered by bird 1 with that label.
        fn compare(&mut self, value: u8, label: &str) {
            let beside = self.shadows.keep(&self.lane, &doubles::image(value)).unwrap();
            let prediction = Prediction { label: label.into(), index: Some(1), probability: 0.5 };
            self.shadows.hand(Compared {
                beside,
                id: "r-1".into(),
                key: Some(b"k".to_vec()),
                model: doubles::served("bird", 1).id,
                predictions: vec![prediction],
            });
            self.room.step(self.inbox.try_next().unwrap());
        }

        fn counted(&self, outcome: &str) -> u64 {
            let line = format!(
                r#"mlaas_worker_shadow_requests_total{{model="bird",outcome="{outcome}",version="2"}} "#
            );
            let text = self.metrics.text();
            text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
        }
    }

    #[test]
    fn both_answers_are_published_under_the_request_s_key_and_agreement_is_counted() {
        let mut room = room();
        room.compare(7, "value 7");
        room.compare(8, "value 9");
        assert_eq!((room.counted("agreed"), room.counted("disagreed")), (1, 1));
        let sent = room.sent.0.lock().unwrap();
        let read = |at: usize| Comparison::decode(sent[at].0.value.as_deref().unwrap()).unwrap();
        assert_eq!(sent[0].0.topic, "predict.shadow");
        assert_eq!(sent[0].0.key.as_deref(), Some(&b"k"[..]));
        let (first, second) = (read(0), read(1));
        assert_eq!((first.request_id.as_str(), first.worker.as_str()), ("r-1", "w1"));
        assert_eq!((first.answer.model.version, first.shadow.model.version), (1, 2));
        assert_eq!((first.agree, second.agree), (true, false));
        assert_eq!(second.shadow.predictions[0].label, "value 8");
        assert_eq!(second.answer.predictions[0].label, "value 9");
    }

    #[test]
    fn what_can_not_be_computed_is_counted_and_the_next_one_is_computed() {
        let mut room = room();
        for value in [doubles::FAILS, doubles::PANICS] {
            room.compare(value, "value 1");
        }
        let beside = room.shadows.keep(&room.lane, &doubles::PANIC_IN_DECODER).unwrap();
        let model = doubles::served("bird", 1).id;
        let (id, key, predictions) = ("r".into(), None, Vec::new());
        room.room.step(Compared { beside, id, key, model, predictions });
        assert_eq!(room.counted("failed"), 3);
        room.compare(7, "value 7");
        assert_eq!((room.counted("failed"), room.counted("agreed")), (3, 1));
    }

    #[test]
    fn while_the_broker_takes_nothing_no_more_than_a_few_records_wait_for_it() {
        let mut room = room();
        (0..ON_THEIR_WAY + 10).for_each(|_| room.compare(7, "value 7"));
        assert_eq!(room.sent.0.lock().unwrap().len(), ON_THEIR_WAY);
        assert_eq!(room.counted("agreed"), ON_THEIR_WAY as u64 + 10, "it is counted all the same");
        room.sent.0.lock().unwrap().clear();
        room.compare(7, "value 7");
        assert_eq!(room.sent.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_end_is_not_waited_for() {
        let Room { shadows, inbox, lane, room, metrics, .. } = room();
        let end = CancellationToken::new();
        end.cancel();
        let beside = shadows.keep(&lane, &doubles::image(7)).unwrap();
        let model = doubles::served("bird", 1).id;
        shadows.hand(Compared { beside, id: "r".into(), key: None, model, predictions: Vec::new() });
        run(&room, &inbox, &end);
        assert!(!metrics.text().contains("shadow_requests_total{"), "it was not computed");
    }
}
