//! From a record to a job: its headers and value are read, the model is looked up, the image becomes the net's pixels. Runs
//! on a few threads of its own. Whatever is wrong with a record becomes an answer here, never an error of the worker's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model_core::ImageError;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::{Envelope, ErrorCode, ErrorReply, Request, Timings};

use crate::config::{Config, Queue};
use crate::health::Pulse;
use crate::lane::{Lane, Lanes};
use crate::micros::micros;
use crate::parcels::{Answer, Asker, Failure, Job, Record};
use crate::served::Served;

/// The room's name in logs and on dead letters.
pub const STAGE: &str = "decode";

/// What decoding needs to know.
#[derive(Debug)]
pub struct Decode {
    lanes: Lanes,
    queue: Queue,
    max_request_bytes: usize,
    top_k: usize,
}

impl Decode {
    /// By that configuration.
    #[must_use]
    pub fn new(lanes: Lanes, config: &Config) -> Self {
        Self {
            lanes,
            queue: config.queue.clone(),
            max_request_bytes: config.limits.max_request_bytes,
            top_k: config.top_k,
        }
    }

    /// One record: a job, or the answer that it gets instead.
    ///
    /// # Errors
    /// The answer. It is large, and handed on at once.
    #[allow(clippy::result_large_err)]
    pub fn step(&self, record: Record) -> Result<Job, Answer> {
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
        let key = original.key.clone();
        let mut asker = Asker { id, key, reply_to, trace, encoding, arrived, span, ticket };
        match self.job_parts(request, arrived, original.timestamp) {
            Ok(parts) => {
                // From here on only the pixels are kept: nothing that comes later sends a record to the dead letters.
                asker.ticket.weigh(parts.pixels.data.len());
                let now = Instant::now();
                Ok(Job {
                    asker,
                    lane: parts.lane,
                    pixels: parts.pixels,
                    top_k: parts.top_k,
                    level: parts.level,
                    deadline: parts.deadline,
                    decode: now - start,
                    queued: now,
                })
            }
            Err((model, reply)) => {
                let dead = can_never_succeed(reply.code).then_some(original);
                let timings = Timings { decode: micros(start.elapsed()), ..Timings::default() };
                Err(Answer { asker, result: Err(Failure { model, reply, stage: STAGE, dead }), timings })
            }
        }
    }

    fn job_parts(
        &self,
        request: Result<Request<'_>, ErrorReply>,
        arrived: Instant,
        written: Option<Timestamp>,
    ) -> Result<Parts, (Option<Arc<Served>>, ErrorReply)> {
        let request = request.map_err(|reply| (None, reply))?;
        let lane = self
            .lanes
            .find(request.model.as_deref(), request.model_version)
            .map_err(|reply| (None, reply))?;
        let fail = |code, message: String| (Some(Arc::clone(&lane.model)), ErrorReply::new(code, message));
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
        let pixels = catch_unwind(AssertUnwindSafe(|| lane.model.prepare(&request.image)))
            .unwrap_or_else(|_| Err(ImageError::Broken { reason: "the decoder gave up on it".into() }))
            .map_err(|error| fail(code(&error), error.to_string()))?;
        let level = self.queue.level(request.priority);
        Ok(Parts { lane: Arc::clone(lane), pixels, top_k, level, deadline })
    }
}

struct Parts {
    lane: Arc<Lane>,
    pixels: model_core::Pixels,
    top_k: usize,
    level: usize,
    deadline: Option<Instant>,
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
    jobs: &mpsc::Sender<Job>,
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
            Ok(job) => jobs.blocking_send(job).is_ok(),
            Err(answer) => answers.blocking_send(answer).is_ok(),
        };
        if !sent {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use crate::metrics::Metrics;
    use crate::models::Models;
    use crate::parcels::Original;
    use wire::header;

    fn original(value: &[u8]) -> Original {
        Original {
            topic: Arc::from("predict.requests"),
            partition: 3,
            offset: 7,
            key: None,
            value: Some(value.to_vec()),
            headers: wire::Headers::new(),
            timestamp: None,
        }
    }

    fn decode() -> Decode {
        let served = vec![doubles::served("bird", 1), doubles::served("shoe", 1)];
        let mut config = Config::default();
        config.limits.max_request_bytes = 100;
        let models = Models::new(served, "shoe", "weights").unwrap();
        Decode::new(Lanes::new(&models, &config.queue, &Metrics::default()), &config)
    }

    fn record(value: &[u8], headers: &[(&str, &str)]) -> Record {
        let mut original = original(value);
        headers.iter().for_each(|(name, text)| original.headers.push(*name, *text));
        Record { original, unreadable: None, ticket: doubles::ticket(), arrived: Instant::now() }
    }

    fn failure(value: &[u8], headers: &[(&str, &str)]) -> (Answer, ErrorCode, bool) {
        let answer = decode().step(record(value, headers)).expect_err("no job");
        let Err(failure) = &answer.result else { panic!("{answer:?}") };
        let (code, dead) = (failure.reply.code, failure.dead.is_some());
        (answer, code, dead)
    }

    #[test]
    fn a_bare_image_is_a_job_for_the_default_model_and_gets_an_id() {
        let job = decode().step(record(&doubles::image(9), &[])).unwrap();
        assert_eq!(format!("{:?}", job.lane), "shoe 1");
        assert_eq!(job.pixels.data, [9]);
        assert_eq!(job.asker.encoding, wire::Encoding::Json);
        assert_eq!(job.asker.id, "predict.requests-3@7", "the same on redelivery");
        assert_eq!(job.top_k, Config::default().top_k);
        assert_eq!(job.deadline, None);
    }

    #[test]
    fn headers_say_what_is_asked_and_where_to_answer() {
        let headers = [
            (header::ID, "r1"),
            (header::MODEL, "bird"),
            (header::TOP_K, "3"),
            (header::REPLY_TOPIC, "answers"),
            (header::PRIORITY, "1"),
            (header::TRACEPARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            (header::DEADLINE, "2099-01-01T00:00:00Z"),
        ];
        let job = decode().step(record(&doubles::image(9), &headers)).unwrap();
        assert_eq!((job.asker.id.as_str(), job.top_k, job.level), ("r1", 3, 0));
        assert_eq!(job.asker.reply_to.topic.as_deref(), Some("answers"));
        assert!(job.asker.trace.parent.is_some());
        assert!(job.deadline.is_some());
    }

    #[test]
    fn what_can_never_succeed_goes_to_the_dead_letters_as_it_came() {
        type Case<'a> = (&'a [u8], &'a [(&'a str, &'a str)]);
        let cases: [Case<'_>; 6] = [
            (b"", &[]),
            (b"not an image", &[]),
            (b"{\"image\": 1}", &[(header::CONTENT_TYPE, "application/json")]),
            (b"x", &[(header::CONTENT_TYPE, "text/plain")]),
            (&doubles::image(9), &[(header::TOP_K, "0")]),
            (&doubles::PANIC_IN_DECODER, &[]),
        ];
        for (value, headers) in cases {
            let (answer, code, dead) = failure(value, headers);
            assert_eq!((code, dead), (ErrorCode::InvalidArgument, true), "{value:?}");
            let dead = answer.result.unwrap_err().dead.unwrap();
            assert_eq!(dead.value.as_deref(), Some(value), "unchanged");
        }
    }

    #[test]
    fn a_record_that_could_not_be_read_whole_is_answered_and_a_dead_letter() {
        let unreadable = Some("its headers can't be read".to_owned());
        let outcome =
            decode().step(Record { unreadable, ..record(&doubles::image(9), &[]) }).expect_err("no job");
        assert_eq!(outcome.asker.id, "predict.requests-3@7");
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.reply.code, ErrorCode::InvalidArgument);
        assert_eq!(failure.dead.unwrap().value, Some(doubles::image(9)));
    }

    #[test]
    fn a_null_value_is_an_empty_one() {
        let mut record = record(b"", &[]);
        record.original.value = None;
        let answer = decode().step(record).expect_err("no job");
        let dead = answer.result.unwrap_err().dead.unwrap();
        assert_eq!(dead.value, None);
    }

    #[test]
    fn what_may_succeed_another_time_is_answered_and_no_dead_letter() {
        let image = doubles::image(9);
        let (_, code, dead) = failure(&[7; 101], &[]);
        assert_eq!((code, dead), (ErrorCode::OutOfRange, false), "a worker may take more tomorrow");
        let (answer, code, dead) = failure(&doubles::TOO_LARGE, &[]);
        assert_eq!((code, dead), (ErrorCode::OutOfRange, false), "nor an image");
        assert!(answer.result.unwrap_err().reply.message.contains("9000 pixels"), "it names the limit");
        assert_eq!(failure(&image, &[(header::MODEL, "fish")]).1, ErrorCode::NotFound);
        assert_eq!(failure(&image, &[(header::MODEL_VERSION, "4")]).1, ErrorCode::NotFound);
        let expired = [(header::DEADLINE, "2020-01-01T00:00:00Z")];
        let (_, code, dead) = failure(&image, &expired);
        assert_eq!((code, dead), (ErrorCode::DeadlineExceeded, false));
    }

    #[test]
    fn a_bad_record_is_answered_under_its_own_id_at_its_own_address() {
        let headers = [(header::ID, "r2"), (header::REPLY_TOPIC, "answers")];
        let (answer, ..) = failure(b"not an image", &headers);
        assert_eq!(answer.asker.id, "r2");
        assert_eq!(answer.asker.reply_to.topic.as_deref(), Some("answers"));
    }

    #[test]
    fn the_time_allowed_counts_from_the_record_s_timestamp() {
        let allowed = [(header::TIMEOUT_MS, "60000"), (header::DEADLINE, "2020-01-01T00:00:00Z")];
        let mut late = record(&doubles::image(9), &allowed);
        late.original.timestamp = Some(Timestamp::now() - jiff::SignedDuration::from_secs(61));
        let answer = decode().step(late).expect_err("no job");
        assert_eq!(answer.result.unwrap_err().reply.code, ErrorCode::DeadlineExceeded);

        let mut fresh = record(&doubles::image(9), &allowed);
        fresh.original.timestamp = Some(Timestamp::now() - jiff::SignedDuration::from_secs(20));
        let left = decode().step(fresh).unwrap().deadline.unwrap() - Instant::now();
        assert!((30..=40).contains(&left.as_secs()), "{left:?} of 60 s are left after 20");
    }

    #[test]
    fn the_queue_s_timeout_counts_from_arrival_and_can_only_be_shortened() {
        let arrived = Instant::now();
        let queue = |default, allow| Queue {
            default_timeout_microseconds: default,
            allow_timeout_override: allow,
            ..Queue::default()
        };
        let late = Some("2099-01-01T00:00:00Z".parse().unwrap());
        let minute = 60_000_000;
        let at = arrived + Duration::from_secs(60);
        assert_eq!(deadline(None, arrived, &queue(minute, true)), Some(at));
        assert_eq!(deadline(late, arrived, &queue(minute, true)), Some(at), "not lengthened");
        assert!(deadline(late, arrived, &queue(0, true)).is_some());
        assert_eq!(deadline(late, arrived, &queue(0, false)), None, "not allowed to have one of its own");
        let soon = Some(Timestamp::now() + jiff::SignedDuration::from_secs(5));
        assert!(deadline(soon, arrived, &queue(minute, true)).unwrap() < at);
    }
}
