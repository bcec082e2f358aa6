//! What the rooms hand to each other. Each parcel carries the ticket that says which record it answers for, its tracing
//! span and the time it arrived, so that no room keeps a table of requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model_core::Pixels;
use tokio::time::Instant;
use tracing::Span;
use wire::{Encoding, ErrorCode, ErrorReply, Headers, Prediction, ReplyTo, Timings, TraceContext};

use crate::book::Book;
use crate::lane::{Entrance, Lane};
use crate::micros::micros;
use crate::pressure::Hold;
use crate::review::Kept;
use crate::served::Served;
use crate::shadow::Beside;

/// A record as it came from Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
    /// When it was written: by its sender's clock, or by the broker's where the topic is set so.
    pub timestamp: Option<Timestamp>,
}

impl Original {
    /// The id of a request that brings none: where its record lies, the same each time that Kafka delivers it.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}-{}@{}", self.topic, self.partition, self.offset)
    }

    /// How many bytes it holds, near enough to bound memory by.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = self.headers.iter().map(|(name, value)| HEADER + name.len() + length(value));
        length(self.value.as_deref()) + length(self.key.as_deref()) + headers.sum::<usize>()
    }
}

/// What a header takes beside its name and value: two vectors of them and what the allocator adds.
const HEADER: usize = 80;

/// From consume to decode: a record nobody has looked into yet.
#[derive(Debug)]
pub struct Record {
    /// What came.
    pub original: Original,
    /// What is wrong with the record, where it could not be read whole.
    pub unreadable: Option<String>,
    /// What it must give back.
    pub ticket: Ticket,
    /// When.
    pub arrived: Instant,
}

/// What is known about whoever asks: enough to answer, whatever becomes of the request.
#[derive(Debug)]
pub struct Asker {
    /// The request's id.
    pub id: String,
    /// The record's key, which the answer carries too; the request's id where there is none.
    pub key: Option<Vec<u8>>,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// Carried through.
    pub trace: TraceContext,
    /// How the answer is encoded.
    pub encoding: Encoding,
    /// It names a version, and is no request of those that a version is tried out by.
    pub names_version: bool,
    /// When the record arrived.
    pub arrived: Instant,
    /// Carries the request's id and trace id into every log line about it.
    pub span: Span,
    /// What the record must give back.
    pub ticket: Ticket,
}

impl Asker {
    /// How many bytes it holds, and its reply with it, which carries most of them again.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let Self { id, key, reply_to, trace, .. } = self;
        let held = [
            id.len(),
            key.as_ref().map_or(0, Vec::len),
            reply_to.correlation_id.as_ref().map_or(0, Vec::len),
            length(&reply_to.topic),
            length(&trace.parent),
            length(&trace.state),
            length(&trace.baggage),
        ];
        2 * held.iter().sum::<usize>()
    }
}

/// From decode to queue: a job on its way into its lane, which stays open until it is there.
#[derive(Debug)]
pub struct Admission {
    /// The job.
    pub job: Job,
    /// Where it goes in.
    pub entrance: Arc<Entrance>,
}

/// From queue through batch: a request that can be computed.
#[derive(Debug)]
pub struct Job {
    /// Who asks.
    pub asker: Asker,
    /// Where it waits for the model version that answers.
    pub lane: Arc<Lane>,
    /// The image, at the net's own size.
    pub pixels: Pixels,
    /// How many predictions to return.
    pub top_k: usize,
    /// From 0, which goes first.
    pub level: usize,
    /// Computed by then or not at all.
    pub deadline: Option<Instant>,
    /// How long decoding took.
    pub decode: Duration,
    /// When it entered the queue.
    pub queued: Instant,
    /// Another version that is to compute its image, when it is answered.
    pub beside: Option<Beside>,
    /// Its image, which a person may have to look at.
    pub review: Option<Kept>,
}

impl Job {
    /// Whether its deadline has passed.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }

    /// The answer where it is not computed.
    #[must_use]
    pub fn refused(self, stage: &'static str, code: ErrorCode, message: &str) -> Answer {
        let timings = Timings {
            decode: micros(self.decode),
            queue: micros(self.queued.elapsed()),
            ..Timings::default()
        };
        let model = Some(Arc::clone(&self.lane.model));
        let failure = Failure::passing(stage, model, ErrorReply::new(code, message));
        Answer { asker: self.asker, result: Err(failure), timings }
    }

    /// The answer where its deadline passed before it was computed.
    #[must_use]
    pub fn expired(self, stage: &'static str) -> Answer {
        let message = "the deadline passed while the request waited for an instance";
        self.refused(stage, ErrorCode::DeadlineExceeded, message)
    }
}

/// From batch to infer: jobs of one lane, never none.
#[derive(Debug)]
pub struct Batch {
    /// The lane.
    pub lane: Arc<Lane>,
    /// The jobs, in the order in which they are computed.
    pub jobs: Vec<Job>,
}

/// From any room to respond: how a request ended.
#[derive(Debug)]
pub struct Answer {
    /// Who asked.
    pub asker: Asker,
    /// Labels, or what went wrong.
    pub result: Result<Labels, Failure>,
    /// Where the time went, all but `total`.
    pub timings: wire::Timings,
}

impl Answer {
    /// The model version that the request met, where it met one.
    #[must_use]
    pub fn model(&self) -> Option<&Arc<Served>> {
        match &self.result {
            Ok(labels) => Some(&labels.model),
            Err(failure) => failure.model.as_ref(),
        }
    }
}

impl Answer {
    /// How long the image took: to decode, and its share of the time that its batch took in the net.
    #[must_use]
    pub fn computing(&self) -> Duration {
        let images = self.result.as_ref().map_or(1, |labels| labels.batch_size.max(1));
        Duration::from_micros(self.timings.decode) + Duration::from_micros(self.timings.inference) / images
    }
}

/// The labels of one image.
#[derive(Debug)]
pub struct Labels {
    /// The model version that gave them.
    pub model: Arc<Served>,
    /// Most probable first.
    pub predictions: Vec<Prediction>,
    /// How many images were computed together.
    pub batch_size: u32,
}

/// Why a request got no labels.
#[derive(Debug)]
pub struct Failure {
    /// The model version, where one was found.
    pub model: Option<Arc<Served>>,
    /// What the asker is told.
    pub reply: ErrorReply,
    /// The room where it failed.
    pub stage: &'static str,
    /// The record, where the same request can never succeed: it goes to the dead-letter topic.
    pub dead: Option<Original>,
}

impl Failure {
    /// A failure that a later try, a later model or a longer deadline may mend.
    #[must_use]
    pub fn passing(stage: &'static str, model: Option<Arc<Served>>, reply: ErrorReply) -> Self {
        Self { model, reply, stage, dead: None }
    }
}

/// The right to say, once, that a record is answered. Dropping it unfinished leaves the record's offset uncommitted, so
/// that Kafka delivers it again: the only backward edge of the pipeline.
pub struct Ticket {
    book: Arc<Book>,
    partition: i32,
    offset: i64,
    assignment: u64,
    hold: Hold,
}

impl Ticket {
    pub(crate) fn new(book: Arc<Book>, partition: i32, offset: i64, assignment: u64, hold: Hold) -> Self {
        Self { book, partition, offset, assignment, hold }
    }

    /// The record is answered, and the answer is the broker's now.
    pub fn finish(self) {
        self.book.finish(self.partition, self.assignment, self.offset);
    }

    /// Whether this worker has owned the record's partition ever since. Where it has not, another worker answers.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.book.is_live(self.partition, self.assignment)
    }

    /// Says how many bytes the parcel holds now.
    pub fn weigh(&mut self, bytes: usize) {
        self.hold.weigh(bytes);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({}@{})", self.partition, self.offset)
    }
}
