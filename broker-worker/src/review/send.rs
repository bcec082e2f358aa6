//! Writes images that a person should look at to their topic, by a producer of its own: what it can't deliver holds up no answer, and is not
//! tried for long.

use std::borrow::Cow;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kafka::{Fault, FaultKind, Outgoing, Producer, to_headers};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use wire::{ModelId, Review};

use super::{Held, Inbox, Unsure};
use crate::metrics::Metrics;
use crate::outbox::Message;

/// For how long an image is the producer's to deliver.
const PATIENCE: Duration = Duration::from_secs(10);

/// An image on its way, until the broker has it or will not have it.
#[derive(Debug)]
pub struct OnItsWay {
    model: ModelId,
    _room: OwnedSemaphorePermit,
}

/// Where they go.
pub trait Shelf: Send {
    /// Takes a record over.
    ///
    /// # Errors
    /// [`Fault`], at once, where it is not taken.
    fn put(&self, message: &Message<'_>, parcel: Box<OnItsWay>) -> Result<(), Fault>;

    /// Waits until all is delivered, for that long at most.
    fn flush(&self, timeout: Duration);
}

/// What becomes of them, counted; what keeps them from being written, said once until it is over.
#[derive(Debug)]
struct Told {
    metrics: Arc<Metrics>,
    topic: String,
    said: Mutex<bool>,
}

impl Told {
    fn outcome(&self, model: &ModelId, result: &Result<(), Fault>) {
        let outcome = match result {
            Ok(()) => "sent",
            Err(fault) if fault.kind == FaultKind::Full => "shed",
            Err(_) => "lost",
        };
        self.metrics.reviewed(model, outcome);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => *said = false,
            Err(fault) if !std::mem::replace(&mut *said, true) => {
                let (topic, cause) = (&self.topic, fault.words());
                tracing::warn!(
                    topic,
                    "images for review are not written, and answers go on without: {fault}: {cause}"
                );
            }
            Err(_) => {}
        }
    }
}

/// The topic, by a producer of its own.
struct Topic(Producer<OnItsWay>);

impl Topic {
    fn new(client: &ClientConfig, max_bytes: usize, told: Arc<Told>) -> Result<Self, KafkaError> {
        let mut client = client.clone();
        client
            // An image that comes twice is none too many, and an idempotent producer may give up for good.
            .set("enable.idempotence", "false")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            // What is wrong with one is not wrong with others.
            .set("batch.num.messages", "1")
            .set("queue.buffering.max.kbytes", (max_bytes / 1024 + 1024).to_string());
        let producer = Producer::new(&client, move |parcel: Box<OnItsWay>, result| {
            told.outcome(&parcel.model, &result);
        });
        producer.map(Self)
    }
}

impl Shelf for Topic {
    fn put(&self, message: &Message<'_>, parcel: Box<OnItsWay>) -> Result<(), Fault> {
        let record = Outgoing {
            topic: &message.topic,
            partition: message.partition,
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            headers: to_headers(message.headers.iter()),
        };
        self.0.send(record, parcel).map_err(|back| back.fault)
    }

    fn flush(&self, timeout: Duration) {
        if !self.0.flush(timeout) {
            tracing::debug!("not all images for review were delivered before the end");
        }
    }
}

/// Why they can't be written.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// librdkafka refuses the producer.
    #[error("the producer can't be made: {0}")]
    Producer(#[from] KafkaError),
    /// The system gives no thread.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What is to be known to write them.
pub struct Setup {
    /// The producer's settings.
    pub client: ClientConfig,
    /// The topic.
    pub topic: String,
    /// Who signs.
    pub worker: String,
    /// How many bytes of them there may be.
    pub max_bytes: usize,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Starts the thread that writes what comes until nobody hands any over; what it gives back closes when all is delivered, or for as long as
/// `farewell` was tried.
///
/// # Errors
/// [`SendError`] where there is no producer or no thread.
pub fn start(inbox: Inbox, setup: Setup, farewell: Duration) -> Result<mpsc::Receiver<()>, SendError> {
    let Setup { client, topic, worker, max_bytes, metrics } = setup;
    let told = Arc::new(Told { metrics, topic: topic.clone(), said: Mutex::default() });
    let shelf = Topic::new(&client, max_bytes, Arc::clone(&told))?;
    let (open, over) = mpsc::channel();
    thread::Builder::new().name("review".to_owned()).spawn(move || {
        run(&inbox, &shelf, &told, &worker);
        shelf.flush(farewell);
        drop((shelf, open));
    })?;
    Ok(over)
}

fn run(inbox: &Inbox, shelf: &dyn Shelf, told: &Told, worker: &str) {
    while let Ok(unsure) = inbox.receiver.recv() {
        let model = unsure.model.clone();
        let (message, parcel) = record(unsure, &told.topic, worker);
        let put = shelf.put(&message, parcel);
        if put.is_err() {
            told.outcome(&model, &put);
        }
    }
}

/// The record that holds an image.
fn record(unsure: Unsure, topic: &str, worker: &str) -> (Message<'static>, Box<OnItsWay>) {
    let Unsure { id, model, predictions, why, at, held: Held { image, room } } = unsure;
    let review = Review {
        request_id: id,
        image: format!("sha256:{:x}", Sha256::digest(&image)),
        model,
        predictions,
        why,
        worker: worker.to_owned(),
        computed_at: at,
    };
    let message = Message {
        topic: topic.to_owned(),
        partition: None,
        key: Some(Cow::Owned(review.request_id.clone().into_bytes())),
        headers: review.headers(&image),
        value: Some(Cow::Owned(image)),
    };
    (message, Box::new(OnItsWay { model: review.model, _room: room }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use crate::review::{Review as Section, Reviews};
    use wire::{Prediction, Why};

    /// Takes so many, and has room for no more.
    struct Small(Mutex<Vec<(Message<'static>, Box<OnItsWay>)>>, usize);

    impl Shelf for Small {
        fn put(&self, message: &Message<'_>, parcel: Box<OnItsWay>) -> Result<(), Fault> {
            let mut all = self.0.lock().unwrap();
            if all.len() == self.1 {
                let cause = KafkaError::MessageProduction(rdkafka::error::RDKafkaErrorCode::QueueFull);
                return Err(Fault::from(cause));
            }
            all.push((message.clone().into_owned(), parcel));
            Ok(())
        }

        fn flush(&self, _: Duration) {}
    }

    #[test]
    fn the_image_goes_as_it_came_with_what_was_said_of_it_and_what_the_queue_does_not_take_is_shed() {
        let metrics = Arc::<Metrics>::default();
        let section = Section { enabled: true, ..Section::default() };
        let (reviews, inbox) = Reviews::new(&section, Arc::clone(&metrics));
        let model = doubles::served("bird", 1).id;
        let image = b"\x89PNG and so on".as_slice();
        let predictions = [("a", 0.3), ("b", 0.2), ("c", 0.1), ("d", 0.1), ("e", 0.1), ("f", 0.1)]
            .map(|(label, probability)| Prediction { label: label.into(), index: Some(1), probability });
        for id in ["r-1", "r-2"] {
            reviews.hand(reviews.keep(image).unwrap(), id, &model, &predictions);
        }
        drop(reviews);
        let shelf = Small(Mutex::default(), 1);
        let told = Told { metrics: Arc::clone(&metrics), topic: "t".into(), said: Mutex::default() };
        run(&inbox.unwrap(), &shelf, &told, "w1");
        let (message, _) = shelf.0.lock().unwrap().remove(0);
        assert_eq!((message.topic.as_str(), message.key.as_deref()), ("t", Some(&b"r-1"[..])));
        assert_eq!(message.value.as_deref(), Some(image));
        assert_eq!(message.headers.get("content-type"), Some(&b"image/png"[..]));
        let review = Review::decode(&message.headers).unwrap();
        assert_eq!(review.image, "sha256:29a1575c11fb9bb9cc316909eea3477825b394861e0c2204aa51a96a2e6883b3");
        assert_eq!((review.why, review.predictions.len(), review.model), (Why::Below, 5, model));
        let shed = r#"mlaas_worker_review_images_total{model="bird",outcome="shed",version="1"} 1"#;
        assert!(metrics.text().contains(shed), "{}", metrics.text());
    }
}
