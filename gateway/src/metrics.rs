//! What is counted, in a registry that is passed in and never global.

use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::admission::Admission;

/// Seconds, from an answer that needs no worker to one that waited as long as anybody does.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// All of a gateway's metrics.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    images: IntCounterVec,
    connections: IntGaugeVec,
    refused: IntCounterVec,
    in_flight: IntGauge,
    bytes: IntGauge,
    streams: IntGauge,
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
            requests: families.counters(
                "mlaas_gateway_requests_total",
                "Requests answered, by server (http or grpc), route and status",
                &["server", "route", "status"],
            ),
            duration: families.histograms(
                "mlaas_gateway_request_duration_seconds",
                "Time from a request's head to the head of its answer",
                &["server", "route"],
            ),
            images: families.counters(
                "mlaas_gateway_images_total",
                "Images sent to workers, by what came of it: OK, or a canonical error code of gRPC",
                &["code"],
            ),
            connections: families.gauges("mlaas_gateway_connections", "Open connections", &["server"]),
            refused: families.counters(
                "mlaas_gateway_connections_refused_total",
                "Connections that were closed at once, because http.max_connections were open",
                &["server"],
            ),
            in_flight: families.gauge("mlaas_gateway_in_flight", "Images on their way to a worker and back"),
            bytes: families
                .gauge("mlaas_gateway_body_bytes", "Bytes of requests' bodies in memory, in whole pages"),
            streams: families.gauge("mlaas_gateway_event_streams", "Open streams of events"),
            registry,
        }
    }

    /// A request was answered.
    pub fn answered(&self, server: &str, route: &str, status: &str, took: Duration) {
        self.requests.with_label_values(&[server, route, status]).inc();
        self.duration.with_label_values(&[server, route]).observe(took.as_secs_f64());
    }

    /// An image was answered, or will not be.
    pub fn image(&self, code: &str) {
        self.images.with_label_values(&[code]).inc();
    }

    /// An open connection, until it is dropped.
    #[must_use]
    pub fn connection(&self, server: &str) -> Counted {
        Counted::new(self.connections.with_label_values(&[server]))
    }

    /// A connection that was not taken.
    pub fn refused(&self, server: &str) {
        self.refused.with_label_values(&[server]).inc();
    }

    /// An open stream of events, until it is dropped.
    #[must_use]
    pub fn stream(&self) -> Counted {
        Counted::new(self.streams.clone())
    }

    /// How many streams of events are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        usize::try_from(self.streams.get()).unwrap_or_default()
    }

    /// All of them in Prometheus's text format.
    #[must_use]
    pub fn text(&self, admission: &Admission) -> Vec<u8> {
        self.in_flight.set(i64::try_from(admission.in_flight()).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(admission.bytes()).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        // Nothing is written but to memory.
        drop(TextEncoder::new().encode(&self.registry.gather(), &mut text));
        text
    }
}

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
pub struct Counted(IntGauge);

impl Counted {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Families<'a>(&'a Registry);

// Each name and label above is a constant of this file, and a test makes all of them.
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

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("a valid name"))
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
        let info =
            self.gauges("mlaas_gateway_build_info", "1; what this gateway was built from", &["version"]);
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_shows_what_it_was_told() {
        let metrics = Metrics::default();
        metrics.answered("http", "/predict", "200", Duration::from_millis(20));
        metrics.image("OK");
        metrics.refused("grpc");
        let connection = metrics.connection("http");
        let stream = metrics.stream();
        assert_eq!(metrics.streams(), 1);
        let admission = Admission::new(&crate::config::Limits::default());
        let (places, mut room) = (admission.places(3).unwrap(), admission.room());
        room.grow(5000).unwrap();
        let text = String::from_utf8(metrics.text(&admission)).unwrap();
        for line in [
            r#"mlaas_gateway_requests_total{route="/predict",server="http",status="200"} 1"#,
            r#"mlaas_gateway_request_duration_seconds_count{route="/predict",server="http"} 1"#,
            r#"mlaas_gateway_images_total{code="OK"} 1"#,
            r#"mlaas_gateway_connections{server="http"} 1"#,
            r#"mlaas_gateway_connections_refused_total{server="grpc"} 1"#,
            "mlaas_gateway_in_flight 3",
            "mlaas_gateway_body_bytes 8192",
            "mlaas_gateway_event_streams 1",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop((connection, stream, places, room));
        let text = String::from_utf8(metrics.text(&admission)).unwrap();
        assert!(text.contains(r#"mlaas_gateway_connections{server="http"} 0"#), "{text}");
    }
}
