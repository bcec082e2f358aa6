//! From a record to a job: its headers and value are read, the model is looked up, the image becomes the net's pixels. Runs
//! on a few threads of its own. Whatever is wrong with a record becomes an answer here, never an error of the worker's.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model_core::{ImageError, ImageLimits};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::{Envelope, ErrorCode, ErrorReply, Request, Timings};

use crate::health::Pulse;
use crate::invalid::{Invalid, at_least_one};
use crate::lane::{Entrance, Found, Lanes, Queue};
use crate::micros::micros;
use crate::parcels::{Admission, Answer, Asker, Failure, Job, Original, Record};
use crate::review::{Kept, Reviews};
use crate::served::Served;
use crate::shadow::{Beside, Shadows};

/// The room's name in logs and on dead letters.
pub const STAGE: &str = "decode";

/// How large a request may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The record's value.
    pub max_request_bytes: usize,
    /// The image's width in pixels.
    pub max_image_width: u32,
    /// The image's height in pixels.
    pub max_image_height: u32,
    /// The memory that decoding it may take.
    pub max_image_alloc_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let image = ImageLimits::default();
        Self {
            max_request_bytes: kafka::MAX_RECORD_BYTES,
            max_image_width: image.max_width,
            max_image_height: image.max_height,
            max_image_alloc_bytes: image.max_alloc_bytes,
        }
    }
}

impl Limits {
    /// # Errors
    /// [`Invalid`], the first of its rules that does not hold.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        at_least_one("limits.max_request_bytes", self.max_request_bytes)?;
        at_least_one("limits.max_image_width", self.max_image_width)?;
        at_least_one("limits.max_image_height", self.max_image_height)?;
        at_least_one("limits.max_image_alloc_bytes", self.max_image_alloc_bytes)?;
        if self.max_request_bytes > wire::MAX_VALUE_BYTES {
            return Err(Invalid::rule(format!(
                "limits.max_request_bytes, {}, must be {} or fewer",
                self.max_request_bytes,
                wire::MAX_VALUE_BYTES
            )));
        }
        Ok(())
    }

    /// Those of the image.
    #[must_use]
    pub fn image(&self) -> ImageLimits {
        ImageLimits {
            max_width: self.max_image_width,
            max_height: self.max_image_height,
            max_alloc_bytes: self.max_image_alloc_bytes,
        }
    }
}

/// What decoding needs to know.
#[derive(Debug)]
pub struct Decode {
    lanes: Lanes,
    queue: Queue,
    max_request_bytes: usize,
    top_k: usize,
    shadows: Shadows,
    reviews: Reviews,
}

impl Decode {
    /// `top_k` is how many predictions a request gets that does not say. What is to be computed beside it is kept by `shadows`, what a person
    /// may have to look at by `reviews`.
    #[must_use]
    pub fn new(
        lanes: Lanes,
        queue: &Queue,
        limits: &Limits,
        top_k: usize,
        (shadows, reviews): (Shadows, Reviews),
    ) -> Self {
        let max_request_bytes = limits.max_request_bytes;
        Self { lanes, queue: queue.clone(), max_request_bytes, top_k, shadows, reviews }
    }

    /// One record: a job, or the answer that it gets instead.
    ///
    /// # Errors
    /// The answer. It is large, and handed on at once.
    #[allow(clippy::result_large_err)]
    pub fn step(&self, record: Record) -> Result<Admission, Answer> {
        let start = Instant::now();
        let Record { original, unreadable, ticket, arrived } = record;
        let mut envelope = Envelope::read(original.key.as_deref(), &original.headers);
        envelope.default_id = Some(original.place());
        let value = original.value.as_deref().unwrap_or_default();
        let encoding = envelope.answer_encoding(value);
        let request = match unreadable {
            None => Request::decode(&envelope, value, self.max_request_bytes).map_err(ErrorReply::from),
            Some(reason) => Err(ErrorReply::new(ErrorCode::InvalidArgument, reason)),
        };
        let id = match &request {
            Ok(request) => request.id.clone(),
            Err(_) => envelope.id.clone().unwrap_or_else(|| original.place()),
        };
        let span = tracing::info_span!(
            "request",
            request_id = %id,
            trace_id = envelope.trace.trace_id().unwrap_or_default(),
            partition = original.partition,
            offset = original.offset,
        );
        let Envelope { reply_to, trace, .. } = envelope;
        let names_version = request.as_ref().is_ok_and(|request| request.model_version.is_some());
        let mut asker =
            Asker { id, key: None, reply_to, trace, encoding, names_version, arrived, span, ticket };
        match self.job_parts(request, original.key.as_deref(), arrived, original.timestamp) {
            Ok(parts) => {
                // From here on only the pixels are kept, and what the reply needs: nothing that comes later sends a record
                // to the dead letters.
                asker.key = original.key;
                asker.ticket.weigh(parts.pixels.data.len() + asker.bytes());
                let now = Instant::now();
                let Parts { entrance, pixels, top_k, level, deadline, beside, review } = parts;
                let lane = Arc::clone(entrance.lane());
                let decode = now - start;
                let queued = now;
                let job = Job { asker, lane, pixels, top_k, level, deadline, decode, queued, beside, review };
                Ok(Admission { job, entrance })
            }
            Err((model, reply)) => {
                asker.key = original.key.clone();
                let dead = can_never_succeed(reply.code).then_some(original);
                asker.ticket.weigh(asker.bytes() + dead.as_ref().map_or(0, Original::bytes));
                let timings = Timings { decode: micros(start.elapsed()), ..Timings::default() };
                Err(Answer { asker, result: Err(Failure { model, reply, stage: STAGE, dead }), timings })
            }
        }
    }

    fn job_parts(
        &self,
        request: Result<Request<'_>, ErrorReply>,
        key: Option<&[u8]>,
        arrived: Instant,
        written: Option<Timestamp>,
    ) -> Result<Parts, (Option<Arc<Served>>, ErrorReply)> {
        let request = request.map_err(|reply| (None, reply))?;
        let Found { entrance, beside } = self
            .lanes
            .find(request.model.as_deref(), request.model_version, key.unwrap_or(request.id.as_bytes()))
            .map_err(|reply| (None, reply))?;
        let fail =
            |code, message: String| (Some(Arc::clone(&entrance.model)), ErrorReply::new(code, message));
        let arrived_at = Timestamp::now().saturating_sub(arrived.elapsed()).unwrap_or(Timestamp::MIN);
        let deadline = deadline(request.expires(written, arrived_at), arrived, &self.queue);
        if deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(fail(
                ErrorCode::DeadlineExceeded,
                "the deadline had passed when the request came".into(),
            ));
        }
        let top_k = request.top_k.map_or(self.top_k, |k| usize::try_from(k).unwrap_or(usize::MAX));
        if top_k == 0 {
            return Err(fail(
                ErrorCode::InvalidArgument,
                "top_k is 0: ask for at least one prediction".into(),
            ));
        }
        let pixels = catch_unwind(AssertUnwindSafe(|| entrance.model.prepare(&request.image)))
            .unwrap_or_else(|_| Err(ImageError::Broken { reason: "the decoder gave up on it".into() }))
            .map_err(|error| fail(code(&error), error.to_string()))?;
        let level = self.queue.level(request.priority);
        let beside = beside.and_then(|lane| self.shadows.keep(&lane, &request.image));
        let review = self.reviews.keep(&request.image);
        Ok(Parts { entrance: Arc::clone(&entrance), pixels, top_k, level, deadline, beside, review })
    }
}

struct Parts {
    entrance: Arc<Entrance>,
    pixels: model_core::Pixels,
    top_k: usize,
    level: usize,
    deadline: Option<Instant>,
    beside: Option<Beside>,
    review: Option<Kept>,
}

/// A worker with other limits may take an image that is too large here.
fn code(error: &ImageError) -> ErrorCode {
    match error {
        ImageError::TooLarge { .. } => ErrorCode::OutOfRange,
        _ => ErrorCode::InvalidArgument,
    }
}

/// The same request fails in the same way for ever: what is wrong is in the record. A model that is not served may be
/// served tomorrow, and a deadline may be set later.
fn can_never_succeed(code: ErrorCode) -> bool {
    code == ErrorCode::InvalidArgument
}

/// The earlier of the request's own deadline, where it may have one, and the queue's.
fn deadline(own: Option<Timestamp>, arrived: Instant, queue: &Queue) -> Option<Instant> {
    let own = own.filter(|_| queue.allow_timeout_override).map(|at| {
        let left = at.duration_since(Timestamp::now());
        Duration::try_from(left).map_or_else(|_| Instant::now(), |left| far(Instant::now(), left))
    });
    let default = (queue.default_timeout_microseconds > 0)
        .then(|| far(arrived, Duration::from_micros(queue.default_timeout_microseconds)));
    [own, default].into_iter().flatten().min()
}

fn far(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or(from + Duration::from_secs(86400 * 365))
}

/// One thread of the room, until its input is closed.
pub fn run(
    decode: &Decode,
    records: &Mutex<mpsc::Receiver<Record>>,
    admissions: &mpsc::Sender<Admission>,
    answers: &mpsc::Sender<Answer>,
    pulse: &Pulse,
) {
    loop {
        pulse.rest();
        // The lock is held while this thread waits: the others wait for the lock instead.
        let record = records.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(record) = record else { return };
        if !record.ticket.is_live() {
            let (partition, offset) = (record.original.partition, record.original.offset);
            tracing::debug!(partition, offset, "the partition went to another worker, which answers");
            continue;
        }
        pulse.beat();
        let step = decode.step(record);
        pulse.rest();
        let sent = match step {
            Ok(admission) => admissions.blocking_send(admission).is_ok(),
            Err(answer) => answers.blocking_send(answer).is_ok(),
        };
        if !sent {
            return;
        }
    }
}
