//! How long answers took, and how many a worker gives in a second: for what measures, not for tests.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::scene::Scene;
use crate::stream::Stream;
use crate::traffic::Received;

/// Requests by which it is measured how many a worker answers in a second.
const TRIAL: usize = 3000;

/// How many requests a second the worker answers if it has all it can do.
pub fn full_load(stream: &mut Stream<'_>) -> f64 {
    let before = stream.answered();
    stream.send(TRIAL);
    stream.wait_answered(before + TRIAL);
    let (start, before) = (Instant::now(), stream.answered());
    stream.send(TRIAL);
    stream.wait_answered(before + TRIAL);
    TRIAL as f64 / start.elapsed().as_secs_f64()
}

/// From and to, in milliseconds since 1970.
pub type Span = (i64, i64);

/// Milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// From a request's record to its answer's, in milliseconds, by when the request was written.
#[derive(Debug)]
pub struct Latencies(Vec<(i64, f64)>);

impl Latencies {
    /// Of all that was asked and answered in that scene.
    #[must_use]
    pub fn of(scene: &Scene) -> Self {
        let read = |topic: &str| {
            let mut reader = scene.reader(topic);
            reader.read_to_end(crate::PATIENCE);
            reader.seen
        };
        let written = |record: &Received| Some((record.id()?, record.timestamp?));
        let answered: BTreeMap<_, _> = read(&scene.topics.results).iter().filter_map(written).collect();
        let asked = read(&scene.topics.requests);
        let latency = |(id, at): (String, i64)| Some((at, (answered.get(&id)? - at) as f64));
        Self(asked.iter().filter_map(written).filter_map(latency).collect())
    }

    /// The median and the 99th percentile.
    #[must_use]
    pub fn within(&self, (from, to): Span) -> [f64; 2] {
        let of_span = self.0.iter().filter(|(at, _)| (from..to).contains(at));
        let mut sorted: Vec<_> = of_span.map(|(_, latency)| *latency).collect();
        sorted.sort_by(f64::total_cmp);
        [0.5, 0.99].map(|part| {
            let at = (sorted.len() as f64 * part) as usize;
            sorted.get(at).copied().unwrap_or(f64::NAN)
        })
    }
}
