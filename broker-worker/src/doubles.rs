//! Doubles for tests: a model that answers with the value of its one pixel, and parcels without a broker behind them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use model_core::{Engine, EngineError, ImageError, Pixels, Scorer};
use registry::{Activation, Class, Classes, Fit, Select};
use tokio::time::Instant;
use wire::{Encoding, ModelId, ReplyTo, TraceContext};

use crate::book::Book;
use crate::engines::Choice;
use crate::group::Delivery;
use crate::lane::{Lane, Lanes, Opened, Queue, Shape};
use crate::metrics::Metrics;
use crate::models::{Models, Part, Wanted};
use crate::parcels::{Asker, Job, Ticket};
use crate::review::{Review, Reviews};
use crate::served::{LoadError, Served};
use crate::shadow::Shadows;

/// An image of this value makes the engine fail.
pub(crate) const FAILS: u8 = 200;
/// An image of this value makes the engine panic.
pub(crate) const PANICS: u8 = 201;
/// A file that makes the decoder panic.
pub(crate) const PANIC_IN_DECODER: [u8; 3] = *b"IMX";

/// A file whose image is too large.
pub(crate) const TOO_LARGE: [u8; 3] = *b"BIG";

/// The bytes of an image file with that value, for [`served`].
#[must_use]
pub(crate) fn image(value: u8) -> Vec<u8> {
    vec![b'I', b'M', b'G', value]
}

/// Holds the engines of [`gated`] until it is opened.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    /// Lets everyone through from now on.
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    /// Waits until it is open.
    pub(crate) fn pass(&self) {
        drop(self.changed.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// A model version that answers `value N` to an image of value N.
#[must_use]
pub(crate) fn served(name: &str, version: u32) -> Served {
    let gate = Arc::new(Gate::default());
    gate.open();
    gated(name, version, gate)
}

/// As [`served`], but each batch waits at the gate.
#[must_use]
pub(crate) fn gated(name: &str, version: u32, gate: Arc<Gate>) -> Served {
    served_by(name, version, move || {
        Ok(Box::new(Echo { broken: false, damaged: Arc::default(), gate: Arc::clone(&gate) }))
    })
}

/// The engine of [`served`].
#[must_use]
pub(crate) fn engine() -> Box<dyn Engine> {
    let gate = Arc::new(Gate::default());
    gate.open();
    Box::new(Echo { broken: false, damaged: Arc::default(), gate })
}

/// As [`served`], by that engine.
#[must_use]
pub(crate) fn served_by(
    name: &str,
    version: u32,
    load: impl Fn() -> Result<Box<dyn Engine>, LoadError> + Send + Sync + 'static,
) -> Served {
    let id = ModelId { name: name.to_owned(), version, digest: format!("sha256:{version:064}") };
    let label = |index| Class { index, label: format!("value {index}") };
    let classes = Classes {
        outputs: VALUES,
        activation: Activation::Softmax,
        labels: (0..VALUES).map(label).collect(),
        reject: None,
        calibration: None,
    };
    Served::new(id, "double".to_owned(), Scorer::of(classes, Fit::Stretch), pixels, load)
}

/// As many as a byte has.
const VALUES: u32 = 256;

fn pixels(file: &[u8]) -> Result<Pixels, ImageError> {
    match file {
        [b'I', b'M', b'G', value] => Ok(Pixels { width: 1, height: 1, channels: 1, data: vec![*value] }),
        [b'I', b'M', b'X'] => panic!("the double's decoder panics, as it should"),
        [b'B', b'I', b'G'] => Err(ImageError::TooLarge { reason: "9000 pixels across".to_owned() }),
        _ => Err(ImageError::UnknownFormat),
    }
}

/// The net's only likely output is the image's value.
struct Echo {
    /// It has panicked, or computes on weights that were damaged when it came to them.
    broken: bool,
    /// Whoever comes to share the weights from now on gets damaged ones.
    damaged: Arc<AtomicBool>,
    gate: Arc<Gate>,
}

impl Engine for Echo {
    fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        if self.broken {
            return Err(EngineError::Compute("it panicked before".into()));
        }
        self.gate.pass();
        let value = |pixels: &Pixels| pixels.data[0];
        if batch.iter().any(|pixels| value(pixels) == PANICS) {
            self.broken = true;
            self.damaged.store(true, Ordering::Relaxed);
            panic!("the double's engine panics, as it should");
        }
        if batch.iter().any(|pixels| value(pixels) == FAILS) {
            return Err(EngineError::Compute("an image that it does not like".into()));
        }
        let outputs = |pixels: &Pixels| {
            let mut outputs = vec![0.0; VALUES as usize];
            outputs[usize::from(value(pixels))] = 20.0;
            outputs
        };
        Ok(batch.iter().map(|pixels| outputs(pixels)).collect())
    }

    fn warm_up(&mut self, _: usize) -> Result<(), EngineError> {
        Ok(())
    }

    fn share(&self) -> Result<Box<dyn Engine>, EngineError> {
        let (damaged, gate) = (Arc::clone(&self.damaged), Arc::clone(&self.gate));
        Ok(Box::new(Self { broken: damaged.load(Ordering::Relaxed), damaged, gate }))
    }
}

/// A ticket for some record.
#[must_use]
pub(crate) fn ticket() -> Ticket {
    let book = Book::new(Delivery::AtLeastOnce);
    ticket_of(&book, 0, 0)
}

/// A ticket of that book.
#[must_use]
pub(crate) fn ticket_of(book: &Arc<Book>, partition: i32, offset: i64) -> Ticket {
    let assignment = book.assignment(partition);
    book.begin(partition, offset, assignment, &Arc::default(), 0)
        .expect("the assignment is the present one")
        .0
}

/// Who asks, with nothing special about them.
#[must_use]
pub(crate) fn asker(id: &str, ticket: Ticket) -> Asker {
    Asker {
        id: id.to_owned(),
        key: None,
        reply_to: ReplyTo::default(),
        trace: TraceContext::default(),
        encoding: Encoding::Json,
        names_version: false,
        arrived: Instant::now(),
        span: tracing::Span::none(),
        ticket,
    }
}

/// A job of that id.
#[must_use]
pub(crate) fn job(id: &str) -> Job {
    job_in(&lane(served("bird", 1)), id)
}

/// A lane of its own for a model version.
#[must_use]
pub(crate) fn lane(served: Served) -> Arc<Lane> {
    Arc::new(Lane::new(Arc::new(served), &shape(Queue::default()), &Metrics::default()))
}

/// A way to nobody.
#[must_use]
pub(crate) fn shadows() -> Shadows {
    Shadows::new(Arc::default()).0
}

/// What keeps no image.
#[must_use]
pub(crate) fn reviews() -> Reviews {
    Reviews::new(&Review::default(), Arc::default()).0
}

/// A model that is wanted in whichever version is in production.
#[must_use]
pub(crate) fn wanted(name: &str) -> Wanted {
    Wanted { name: name.to_owned(), select: None, engine: Choice::default(), part: Part::Meant }
}

/// A version that is wanted by its number, as [`Models::new`] wants those it is given.
#[must_use]
pub(crate) fn wanted_version(name: &str, version: u32) -> Wanted {
    Wanted { select: Some(Select::Version(version)), ..wanted(name) }
}

/// Lanes for two instances.
#[must_use]
pub(crate) fn shape(queue: Queue) -> Shape {
    Shape { queue, instances: 2, max_batch_size: 8 }
}

/// Lanes of those versions, of which the first one's model is the default.
#[must_use]
pub(crate) fn lanes(served: Vec<Served>, metrics: Arc<Metrics>) -> (Lanes, Opened) {
    let default = served[0].id.name.clone();
    let models = Models::new(served, &default, "weights").unwrap();
    Lanes::new(&models, shape(Queue::default()), metrics, None)
}

/// A job of that lane and id.
#[must_use]
pub(crate) fn job_in(lane: &Arc<Lane>, id: &str) -> Job {
    Job {
        asker: asker(id, ticket()),
        lane: Arc::clone(lane),
        pixels: Pixels { width: 1, height: 1, channels: 1, data: vec![1] },
        top_k: 1,
        level: 0,
        deadline: None,
        decode: Duration::ZERO,
        queued: Instant::now(),
        beside: None,
        review: None,
    }
}
