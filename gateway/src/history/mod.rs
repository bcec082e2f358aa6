//! What became of the requests of the last hour, for the page: how many, how long they took, which errors, and the last few
//! images. It lies in memory, is as large for one caller as for millions, and ends with the gateway.

mod slots;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::{Outcome, Response};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use slots::Slots;

/// How finely time is told, in seconds.
const STEP: u64 = 5;
/// How many of those are kept: an hour.
const KEPT: u64 = 3600 / STEP;
/// How many points a look back has at most.
const POINTS: u64 = 180;
/// How many images are kept.
const IMAGES: usize = 30;
/// How much of a label or a sentence is.
const WORDS: usize = 200;

/// What is kept. A clone keeps the same.
#[derive(Clone, Debug)]
pub struct History {
    on: bool,
    began: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    /// How many there were.
    number: u64,
    images: VecDeque<Kept>,
}

/// An image, and a small picture of it where there is one.
#[derive(Debug)]
struct Kept {
    number: u64,
    seen: Seen,
    jpeg: Option<Arc<[u8]>>,
}

/// A few seconds in which something was answered.
#[derive(Debug)]
struct Step {
    number: u64,
    errors: BTreeMap<String, u32>,
    took: Slots,
}

/// What went on lately.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Activity {
    /// Images on their way to a worker and back.
    pub in_flight: usize,
    /// How many there may be.
    pub max_in_flight: usize,
    /// Requests a second in the last ten seconds that are over.
    pub requests_per_second: f64,
    /// All of the time that was asked for.
    pub total: Point,
    /// Which errors were among it: HTTP's status, `grpc` and gRPC's code, or `hung up`.
    pub errors: BTreeMap<String, u32>,
    /// How long a point is, in seconds.
    pub step_s: u64,
    /// One for each step that is over, the oldest first.
    pub points: Vec<Point>,
    /// The last images, the newest first.
    pub images: Vec<Seen>,
}

/// What was answered within some time, errors included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Point {
    /// Requests that were answered.
    pub requests: u32,
    /// How many of them with an error.
    pub errors: u32,
    /// How many milliseconds half of them took at most, about; none where there were none.
    pub p50_ms: Option<f64>,
    /// How many 95 of a hundred did.
    pub p95_ms: Option<f64>,
    /// How many 99 of a hundred did.
    pub p99_ms: Option<f64>,
}

/// What became of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Seen {
    /// When, RFC 3339.
    pub at: String,
    /// From sending it to its answer, in milliseconds.
    pub took_ms: f64,
    /// `OK`, or gRPC's canonical code.
    pub code: String,
    /// What is wrong with it, where something is.
    pub message: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// Its version.
    pub version: Option<u32>,
    /// The likeliest label.
    pub label: Option<String>,
    /// Whether that is a class, and not that the image shows none of them.
    pub is_class: bool,
    /// From 0 to 1.
    pub probability: Option<f32>,
    /// The worker's name.
    pub worker: String,
    /// Where a small picture of it is; none where there is none.
    pub thumbnail: Option<String>,
}

impl History {
    /// Nothing yet; and nothing ever where it is not on.
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on, began: Instant::now(), state: Arc::default() }
    }

    /// A request was answered. What asks for no label does not count.
    pub fn request(&self, server: &str, route: &str, status: &str, took: Duration) {
        let infers = matches!(route, "/predict" | "/v1/batch")
            || route.ends_with("/infer")
            || route.ends_with("ModelInfer");
        if self.on && infers {
            let number = self.began.elapsed().as_secs() / STEP;
            self.state().request(number, error(server, status), took);
        }
    }

    /// An image was answered. Says its number.
    pub fn image(&self, response: &Response, took: Duration) -> u64 {
        let seen = Seen { worker: response.worker.clone(), ..Seen::default() };
        let seen = match &response.outcome {
            Outcome::Error(error) => {
                Seen { code: error.code.name().to_owned(), message: Some(short(&error.message)), ..seen }
            }
            Outcome::Success(success) => {
                let first = success.predictions.first();
                Seen {
                    code: "OK".to_owned(),
                    model: Some(success.model.name.clone()),
                    version: Some(success.model.version),
                    label: first.map(|first| short(&first.label)),
                    is_class: first.is_some_and(|first| first.index.is_some()),
                    probability: first.map(|first| first.probability),
                    ..seen
                }
            }
        };
        self.keep(seen, took)
    }

    /// An image was not answered. Says its number.
    pub fn failed(&self, code: &str, why: &str, took: Duration) -> u64 {
        self.keep(Seen { code: code.to_owned(), message: Some(short(why)), ..Seen::default() }, took)
    }

    fn keep(&self, seen: Seen, took: Duration) -> u64 {
        let mut state = self.state();
        if self.on {
            let seen = Seen { at: Timestamp::now().to_string(), took_ms: took.as_secs_f64() * 1e3, ..seen };
            state.number += 1;
            let number = state.number;
            state.images.truncate(IMAGES - 1);
            state.images.push_front(Kept { number, seen, jpeg: None });
        }
        state.number
    }

    /// A small picture of the image of that number, a JPEG file, which is kept as long as the image is.
    pub fn picture(&self, number: u64, jpeg: Vec<u8>) {
        if let Some(kept) = self.state().images.iter_mut().find(|kept| kept.number == number) {
            kept.jpeg = Some(jpeg.into());
        }
    }

    /// The same; none where there is none, or no longer.
    #[must_use]
    pub fn pictured(&self, number: u64) -> Option<Arc<[u8]>> {
        self.state().images.iter().find(|kept| kept.number == number)?.jpeg.clone()
    }

    /// The last minutes, an hour at most.
    #[must_use]
    pub fn last(&self, minutes: u64) -> Activity {
        self.state().last(self.began.elapsed().as_secs() / STEP, minutes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn told(&self) -> Seen {
        let thumbnail = self.jpeg.as_ref().map(|_| format!("/v1/activity/images/{}", self.number));
        Seen { thumbnail, ..self.seen.clone() }
    }
}

impl State {
    fn request(&mut self, number: u64, error: Option<String>, took: Duration) {
        while self.steps.front().is_some_and(|step| step.number + KEPT < number) {
            self.steps.pop_front();
        }
        // The clock was read outside: another may have been a step further already.
        let number = self.steps.back().map_or(number, |last| last.number.max(number));
        if self.steps.back().is_none_or(|last| last.number < number) {
            self.steps.push_back(Step { number, errors: BTreeMap::new(), took: Slots::default() });
        }
        let Some(step) = self.steps.back_mut() else { return };
        step.took.add(took);
        if let Some(error) = error {
            *step.errors.entry(error).or_default() += 1;
        }
    }

    /// Whole steps before `now`, several to a point where they are many; and in the total `now` itself too.
    fn last(&self, now: u64, minutes: u64) -> Activity {
        let asked = (minutes * 60 / STEP).clamp(1, KEPT);
        let wide = asked.div_ceil(POINTS);
        // Points begin where they began in the look before, so that a chart moves and does not flicker.
        let end = now / wide;
        let count = asked / wide;
        let within =
            |point: u64| self.steps.iter().filter(move |step| (step.number / wide) + count == end + point);
        let all = || self.steps.iter().filter(|step| step.number + asked > now);
        let lately = self.steps.iter().filter(|step| step.number < now && step.number + 2 >= now);
        let mut errors = BTreeMap::new();
        for (kind, many) in all().flat_map(|step| &step.errors) {
            *errors.entry(kind.clone()).or_default() += many;
        }
        Activity {
            in_flight: 0,
            max_in_flight: 0,
            requests_per_second: f64::from(point(lately).requests) / (STEP * 2) as f64,
            total: point(all()),
            errors,
            step_s: wide * STEP,
            points: (0..count).map(|number| point(within(number))).collect(),
            images: self.images.iter().map(Kept::told).collect(),
        }
    }
}

fn point<'a>(steps: impl Iterator<Item = &'a Step>) -> Point {
    let (mut sum, mut errors) = (Slots::default(), 0);
    for step in steps {
        errors += step.errors.values().sum::<u32>();
        sum.merge(&step.took);
    }
    let requests = sum.all();
    let [p50_ms, p95_ms, p99_ms] = [0.5, 0.95, 0.99].map(|part| sum.quantile(part));
    Point { requests, errors, p50_ms, p95_ms, p99_ms }
}

/// What an answer's status is called where it is an error.
fn error(server: &str, status: &str) -> Option<String> {
    match (server, status) {
        (_, "hung up") => Some(status.to_owned()),
        ("grpc", "0") => None,
        ("grpc", code) => Some(format!("grpc {code}")),
        (_, code) if code.starts_with(['4', '5']) => Some(code.to_owned()),
        _ => None,
    }
}

fn short(words: &str) -> String {
    words.chars().take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use client::{ErrorCode, ErrorReply, ModelId, Prediction, Success, Timings};

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut state = State::default();
        for number in 0..2000 {
            state.request(number, (number % 2 == 0).then(|| "503".to_owned()), ms(20));
        }
        assert!(state.steps.len() as u64 <= KEPT + 1, "{}", state.steps.len());
        let hour = state.last(2000, 60);
        assert_eq!((hour.step_s, hour.points.len()), (20, 180));
        assert_eq!(hour.points[3].requests, 4);
        assert_eq!((hour.points[3].errors, hour.errors["503"]), (2, hour.total.errors));
        let short = state.last(2000, 1);
        assert_eq!((short.step_s, short.points.len()), (5, 12));
        assert_eq!(short.points[11], Point { errors: 0, ..short.points[11] });
        assert!((short.requests_per_second - 0.2).abs() < 1e-9, "{short:?}");
        // Later, with nothing in between.
        let later = state.last(2000 + KEPT, 60);
        assert_eq!((later.total.requests, later.total.p50_ms), (0, None));
    }

    #[test]
    fn a_step_that_is_not_over_is_in_the_total_alone() {
        let mut state = State::default();
        state.request(7, None, ms(20));
        // One whose clock was read a step before.
        state.request(6, None, ms(20));
        let now = state.last(7, 5);
        assert_eq!((now.total.requests, now.points.last().unwrap().requests), (2, 0));
        let then = state.last(8, 5);
        assert_eq!(then.points.last().unwrap().requests, 2);
    }

    #[test]
    fn errors_have_a_name_and_what_asks_for_no_label_is_left_out() {
        let history = History::new(true);
        for (server, route, status) in [
            ("http", "/predict", "200"),
            ("http", "/predict", "422"),
            ("http", "/v1/batch", "hung up"),
            ("http", "/v2/models/{model}/infer", "503"),
            ("grpc", "/inference.GRPCInferenceService/ModelInfer", "14"),
            ("grpc", "/inference.GRPCInferenceService/ModelInfer", "0"),
            ("http", "/metrics", "500"),
            ("http", "/ui/{file}", "404"),
        ] {
            history.request(server, route, status, ms(1));
        }
        let now = history.last(5);
        assert_eq!(now.total.requests, 6);
        assert_eq!(now.errors.keys().collect::<Vec<_>>(), ["422", "503", "grpc 14", "hung up"]);
    }

    #[test]
    fn the_last_images_are_told_the_newest_first() {
        let history = History::new(true);
        let predictions = vec![Prediction { label: "not a bird".into(), index: None, probability: 0.75 }];
        let model = ModelId { name: "bird".into(), version: 2, digest: String::new() };
        for outcome in [
            Outcome::Success(Success { model, predictions, batch_size: 1 }),
            Outcome::Error(ErrorReply::new(ErrorCode::InvalidArgument, "é".repeat(300))),
        ] {
            let timings = Timings::default();
            history
                .image(&Response { request_id: String::new(), outcome, timings, worker: "w".into() }, ms(5));
        }
        let [error, label] = &history.last(1).images[..] else { panic!("not two") };
        assert_eq!(
            (&*error.code, error.message.as_ref().unwrap().chars().count()),
            ("INVALID_ARGUMENT", WORDS)
        );
        assert_eq!(
            (label.label.as_deref(), label.is_class, &*label.worker),
            (Some("not a bird"), false, "w")
        );
        for _ in 0..100 {
            history.failed("UNAVAILABLE", "no", ms(1));
        }
        assert_eq!(history.last(1).images.len(), IMAGES);
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_page() {
        let history = History::new(false);
        history.request("http", "/predict", "200", ms(1));
        history.failed("UNAVAILABLE", "no", ms(1));
        let now = history.last(5);
        assert_eq!((now.total.requests, now.images.len()), (0, 0));
    }
}
