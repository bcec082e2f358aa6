//! What is counted, under the names that Triton's dashboards read, in a registry that is passed in and never global.

use std::sync::Arc;
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use wire::{ErrorCode, ModelId, Timings};

use crate::micros::micros;
use crate::tally::Tally;
use crate::trials::Trials;

const MODEL: [&str; 2] = ["model", "version"];
/// Seconds, from a reply that needs no computing to one that waited as long as anybody does.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// All of a worker's metrics.
pub struct Metrics {
    registry: Registry,
    /// How versions do that are tried out.
    pub trials: Trials,
    /// What the next snapshot tells.
    pub tally: Arc<Tally>,
    request_success: IntCounterVec,
    request_failure: IntCounterVec,
    inference_count: IntCounterVec,
    exec_count: IntCounterVec,
    pending: IntGaugeVec,
    request_duration: IntCounterVec,
    queue_duration: IntCounterVec,
    compute_input_duration: IntCounterVec,
    compute_infer_duration: IntCounterVec,
    stages: HistogramVec,
    errors: IntCounterVec,
    loads: IntCounterVec,
    shadows: IntCounterVec,
    reviews: IntCounterVec,
    memory: IntGaugeVec,
    lag: IntGaugeVec,
    oldest: GaugeVec,
    /// Records sent to the dead-letter topic.
    pub dead_letters: IntCounter,
    /// Replies that went another way than asked.
    pub rerouted: IntCounter,
    /// Records that could not be delivered in any way.
    pub undeliverable: IntCounter,
    /// Requests between consume and commit.
    pub in_flight: IntGauge,
    /// 1 while partitions are paused.
    pub paused: IntGauge,
    /// Partitions that are paused alone.
    pub held_back: IntGauge,
    /// Rebalances seen.
    pub rebalances: IntCounter,
}

/// Those of one model version, looked up once.
pub struct ModelMetrics {
    /// Requests that wait for an instance.
    pub pending: IntGauge,
    inference_count: IntCounter,
    exec_count: IntCounter,
    compute_infer_duration: IntCounter,
    infer: Histogram,
    model: ModelId,
    tally: Arc<Tally>,
}

impl ModelMetrics {
    /// A batch of that many images was computed.
    pub fn computed(&self, images: usize, took: Duration) {
        self.inference_count.inc_by(images as u64);
        self.exec_count.inc();
        self.compute_infer_duration.inc_by(micros(took));
        self.infer.observe(took.as_secs_f64());
        self.tally.computed(&self.model, images, took);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Registry::new())
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Registers all of them there. One registry takes one set.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let families = Families(&registry);
        families.process();
        families.build_info();
        Self {
            request_success: families.counters(
                "nv_inference_request_success",
                "Requests answered with labels",
                &MODEL,
            ),
            request_failure: families.counters(
                "nv_inference_request_failure",
                "Requests answered with an error, by reason: REJECTED (a full queue or a deadline that passed), \
                 CANCELED, BACKEND (the model failed) or OTHER (an unreadable request, a model not served)",
                &["model", "version", "reason"],
            ),
            inference_count: families.counters(
                "nv_inference_count",
                "Images computed; divided by nv_inference_exec_count it is the average batch",
                &MODEL,
            ),
            exec_count: families.counters("nv_inference_exec_count", "Batches computed", &MODEL),
            pending: families.gauges(
                "nv_inference_pending_request_count",
                "Requests that wait for an instance",
                &MODEL,
            ),
            request_duration: families.counters(
                "nv_inference_request_duration_us",
                "Time from a record's arrival to its result, in microseconds, summed",
                &MODEL,
            ),
            queue_duration: families.counters(
                "nv_inference_queue_duration_us",
                "Time that requests waited for an instance, in microseconds, summed",
                &MODEL,
            ),
            compute_input_duration: families.counters(
                "nv_inference_compute_input_duration_us",
                "Time to read requests and turn their images into the net's input, in microseconds, summed",
                &MODEL,
            ),
            compute_infer_duration: families.counters(
                "nv_inference_compute_infer_duration_us",
                "Time in the net, in microseconds, each batch once, summed",
                &MODEL,
            ),
            stages: families.histograms(
                "mlaas_worker_stage_duration_seconds",
                "Time of a request in decode, in the queue, in the net (infer, each batch once), in respond until the \
                 broker has the answer, and in all of the worker (total)",
                &["stage", "model", "version"],
            ),
            errors: families.counters(
                "mlaas_worker_error_replies_total",
                "Requests answered with an error, by its code",
                &["code"],
            ),
            loads: families.counters(
                "mlaas_worker_model_loads_total",
                "Versions loaded in the place of one that was served, or to be served beside, by outcome: loaded or failed",
                &["model", "outcome"],
            ),
            shadows: families.counters(
                "mlaas_worker_shadow_requests_total",
                "Requests that a version was to compute beside the one that answers, by outcome: agreed or disagreed (its first label is the \
                 answer's, or another), failed (it could not compute the image), or shed (there was no time for it)",
                &["model", "version", "outcome"],
            ),
            reviews: families.counters(
                "mlaas_worker_review_images_total",
                "Images that a person should look at (review), by outcome: sent, lost (the topic did not take it), shed (there was no room for \
                 it), or limited (the minute had review.max_per_minute)",
                &["model", "version", "outcome"],
            ),
            memory: families.gauges(
                "mlaas_worker_model_memory_bytes",
                "Memory that a model version takes: by about as much the process grew while it was loaded",
                &["model", "version"],
            ),
            lag: families.gauges(
                "kafka_consumer_lag",
                "Records on the partition behind the committed offset",
                &["topic", "partition"],
            ),
            oldest: families.ages(
                "mlaas_worker_oldest_unanswered_seconds",
                "How long the first record of the partition that has no answer has been waiting for it; 0 where there is none",
                &["topic", "partition"],
            ),
            dead_letters: families
                .counter("mlaas_worker_dead_letters_total", "Records sent to the dead-letter topic"),
            rerouted: families.counter(
                "mlaas_worker_rerouted_replies_total",
                "Replies that went another way than asked, since they were too large or their topic is missing",
            ),
            undeliverable: families.counter(
                "mlaas_worker_undeliverable_records_total",
                "Replies and dead letters that no topic takes; each is logged as an error",
            ),
            in_flight: families.gauge("mlaas_worker_in_flight_requests", "Requests taken and not yet answered"),
            paused: families.gauge("mlaas_worker_paused", "1 while back-pressure has partitions paused"),
            held_back: families.gauge(
                "mlaas_worker_held_back_partitions",
                "Partitions that are paused alone, since many records behind their first unanswered one are answered",
            ),
            rebalances: families.counter("mlaas_worker_rebalances_total", "Assignments and revocations seen"),
            trials: Trials::default(),
            tally: Arc::default(),
            registry,
        }
    }

    /// Those of that model version.
    #[must_use]
    pub fn of(&self, model: &ModelId) -> ModelMetrics {
        let version = model.version.to_string();
        let labels = [model.name.as_str(), version.as_str()];
        ModelMetrics {
            pending: self.pending.with_label_values(&labels),
            inference_count: self.inference_count.with_label_values(&labels),
            exec_count: self.exec_count.with_label_values(&labels),
            compute_infer_duration: self.compute_infer_duration.with_label_values(&labels),
            infer: self.stages.with_label_values(&["infer", labels[0], labels[1]]),
            model: model.clone(),
            tally: Arc::clone(&self.tally),
        }
    }

    /// How many requests wait for an instance of that version.
    #[must_use]
    pub fn waiting(&self, model: &ModelId) -> u64 {
        let gauge = self.pending.with_label_values(&[&model.name, &model.version.to_string()]);
        u64::try_from(gauge.get()).unwrap_or_default()
    }

    /// A version of that model was loaded, or could not be.
    pub fn model_loaded(&self, name: &str, loaded: bool) {
        let outcome = if loaded { "loaded" } else { "failed" };
        self.loads.with_label_values(&[name, outcome]).inc();
    }

    /// What became of a request that a version was to compute beside the one that answers.
    pub fn shadowed(&self, model: &ModelId, outcome: &str) {
        self.shadows.with_label_values(&[&model.name, &model.version.to_string(), outcome]).inc();
    }

    /// What became of an image that a person should look at.
    pub fn reviewed(&self, model: &ModelId, outcome: &str) {
        self.reviews.with_label_values(&[&model.name, &model.version.to_string(), outcome]).inc();
    }

    /// How many bytes that version takes; none where it is served no more.
    pub fn model_memory(&self, model: &ModelId, bytes: Option<u64>) {
        let version = model.version.to_string();
        let labels = [model.name.as_str(), &version];
        match bytes {
            Some(bytes) => {
                self.memory.with_label_values(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            // It may never have been told.
            None => drop(self.memory.remove_label_values(&labels)),
        }
    }

    /// A request was answered, with labels or an error, and the broker had the answer that long after the record came.
    /// Where no model was found, the labels are empty: what a request calls its model is its sender's, and would make a
    /// series for each typing error.
    pub fn answered(
        &self,
        model: Option<&ModelId>,
        outcome: Result<(), ErrorCode>,
        timings: &Timings,
        delivered: Duration,
    ) {
        self.tally.answered(model, outcome, timings, delivered);
        let version = model.map(|m| m.version.to_string()).unwrap_or_default();
        let labels = [model.map_or("", |m| m.name.as_str()), version.as_str()];
        let respond = delivered.saturating_sub(Duration::from_micros(timings.total));
        let (decode, queue) = (Duration::from_micros(timings.decode), Duration::from_micros(timings.queue));
        for (stage, time) in
            [("decode", decode), ("queue", queue), ("respond", respond), ("total", delivered)]
        {
            self.stages.with_label_values(&[stage, labels[0], labels[1]]).observe(time.as_secs_f64());
        }
        match outcome {
            Ok(()) => {
                self.request_success.with_label_values(&labels).inc();
                self.request_duration.with_label_values(&labels).inc_by(timings.total);
                self.queue_duration.with_label_values(&labels).inc_by(timings.queue);
                self.compute_input_duration.with_label_values(&labels).inc_by(timings.decode);
            }
            Err(code) => {
                self.errors.with_label_values(&[code.name()]).inc();
                self.request_failure.with_label_values(&[labels[0], labels[1], reason(code)]).inc();
            }
        }
    }

    /// How far a partition's committed offset is behind.
    pub fn set_lag(&self, topic: &str, partition: i32, lag: i64) {
        self.lag.with_label_values(&[topic, &partition.to_string()]).set(lag);
        self.tally.set_lag(partition, lag);
    }

    /// How long a partition's first record without an answer has been waiting.
    pub fn set_oldest(&self, topic: &str, partition: i32, age: Duration) {
        self.oldest.with_label_values(&[topic, &partition.to_string()]).set(age.as_secs_f64());
    }

    /// The partition is another worker's now.
    pub fn forget_partition(&self, topic: &str, partition: i32) {
        let labels = [topic, &partition.to_string()];
        // Where it was never set there is nothing to remove.
        drop(self.lag.remove_label_values(&labels));
        drop(self.oldest.remove_label_values(&labels));
        self.tally.forget_partition(partition);
    }

    /// All of them in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8(text).unwrap_or_default(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Triton's word for it. Each code has its line, so that a new one gets a word of its own.
fn reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::DeadlineExceeded | ErrorCode::ResourceExhausted => "REJECTED",
        ErrorCode::Internal | ErrorCode::Unavailable => "BACKEND",
        // The last is written by no worker.
        ErrorCode::InvalidArgument | ErrorCode::NotFound | ErrorCode::OutOfRange | ErrorCode::Unknown(_) => {
            "OTHER"
        }
    }
}

struct Families<'a>(&'a Registry);

// Each name and label below is a constant of this file, and a test makes all of them.
#[allow(clippy::expect_used)]
impl Families<'_> {
    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, family: C) -> C {
        self.0.register(Box::new(family.clone())).expect("each name is registered once");
        family
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels).expect("a valid name"))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels).expect("a valid name"))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.register(HistogramVec::new(opts, labels).expect("a valid name"))
    }

    /// The process's processor time, memory, threads, open files and start.
    fn process(&self) {
        self.0.register(Box::new(ProcessCollector::for_self())).expect("each name is registered once");
    }

    fn build_info(&self) {
        let labels = ["version", "librdkafka"];
        let info = self.gauges("mlaas_worker_build_info", "1; what this worker was built from", &labels);
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), &librdkafka]).set(1);
    }

    fn ages(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels).expect("a valid name"))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help).expect("a valid name"))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("a valid name"))
    }
}

#[cfg(test)]
mod tests;
