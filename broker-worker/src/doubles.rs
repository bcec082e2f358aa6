//! Doubles for tests: a model that answers with the value of its one pixel, and parcels without a broker behind them.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use model_core::Pixels;
use tokio::time::Instant;
use wire::{Encoding, ModelId, Prediction, ReplyTo, TraceContext};

use crate::backend::{Backend, BackendError, Input, Prepare};
use crate::config::{Delivery, Queue};
use crate::lane::Lane;
use crate::metrics::Metrics;
use crate::models::Served;
use crate::parcels::{Asker, Job, Ticket};
use crate::rooms::commit::Book;

/// An image of this value makes the backend fail.
pub(crate) const FAILS: u8 = 200;
/// An image of this value makes the backend panic.
pub(crate) const PANICS: u8 = 201;
/// A file that makes the decoder panic.
pub(crate) const PANIC_IN_DECODER: [u8; 3] = *b"IMX";

/// The bytes of an image file with that value, for [`served`].
#[must_use]
pub(crate) fn image(value: u8) -> Vec<u8> {
    vec![b'I', b'M', b'G', value]
}

/// Holds the backends of [`gated`] until it is opened.
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

    fn pass(&self) {
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
    Served {
        id: ModelId { name: name.to_owned(), version, digest: format!("sha256:{version:064}") },
        architecture: "double".to_owned(),
        labels: 256,
        prepare: Box::new(Decoder),
        load: Box::new(move |_| Ok(Box::new(Echo { broken: false, gate: Arc::clone(&gate) }))),
    }
}

struct Decoder;

impl Prepare for Decoder {
    fn prepare(&self, file: &[u8]) -> Result<Pixels, String> {
        match file {
            [b'I', b'M', b'G', value] => Ok(Pixels { width: 1, height: 1, channels: 1, data: vec![*value] }),
            [b'I', b'M', b'X'] => panic!("the double's decoder panics, as it should"),
            _ => Err("the image can't be decoded: it is none".to_owned()),
        }
    }
}

struct Echo {
    broken: bool,
    gate: Arc<Gate>,
}

impl Backend for Echo {
    fn predict(&mut self, batch: &[Input<'_>]) -> Result<Vec<Vec<Prediction>>, BackendError> {
        if self.broken {
            return Err(BackendError("it panicked before".to_owned()));
        }
        self.gate.pass();
        let value = |input: &Input<'_>| input.pixels.data[0];
        if batch.iter().any(|input| value(input) == PANICS) {
            self.broken = true;
            panic!("the double's backend panics, as it should");
        }
        if batch.iter().any(|input| value(input) == FAILS) {
            return Err(BackendError("an image that it does not like".to_owned()));
        }
        let predictions = |input: &Input<'_>| {
            let label = |rank: usize| {
                let probability = if rank == 0 { 0.75 } else { 0.0 };
                let label = format!("value {}", usize::from(value(input)) + rank);
                Prediction { label, index: Some(u32::from(value(input))), probability }
            };
            (0..input.top_k).map(label).collect()
        };
        Ok(batch.iter().map(predictions).collect())
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
    book.begin(partition, offset, assignment, &Arc::default(), 0).expect("the assignment is the present one")
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
    Arc::new(Lane::new(Arc::new(served), &Queue::default(), &Metrics::default()))
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
    }
}
