//! librdkafka's own talk, as `tracing` events. It reports each failed connection attempt as an error, and then tries
//! again by itself, so that here nothing of it is more than a warning: what matters to a caller comes back as a result.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// The `tracing` target of librdkafka's log lines and client-wide errors.
pub const TARGET: &str = "librdkafka";

/// Forwards one of librdkafka's log lines; a [`ClientContext::log`] of one's own calls it.
pub fn line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::warn!(target: TARGET, facility, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(target: TARGET, facility, "{message}");
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: TARGET, facility, "{message}")
        }
    }
}

/// Forwards a client-wide error; a [`ClientContext::error`] of one's own calls it.
pub fn error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: TARGET, %error, "{reason}");
}

/// A context that logs and does nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogContext;

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        line(level, facility, message);
    }

    fn error(&self, err: KafkaError, reason: &str) {
        error(&err, reason);
    }
}

impl ConsumerContext for LogContext {}

impl ProducerContext for LogContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}
