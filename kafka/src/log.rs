//! librdkafka's own talk, as `tracing` events. It reports each failed connection attempt as an error, and then tries
//! again by itself, so that here nothing of it is more than a warning: what matters to a caller comes back as a result.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;

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

/// librdkafka's words for an error, without the crate's own around them.
#[must_use]
pub fn words(error: &KafkaError) -> String {
    match error {
        // The crate knows no code of it.
        KafkaError::AdminOp(code) => code.to_string(),
        error => error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()),
    }
}

/// A context that logs, and keeps the last that was heard of a connection that failed.
#[derive(Clone, Debug, Default)]
pub struct HearingContext(Arc<Mutex<Option<String>>>);

impl HearingContext {
    /// The last that was heard, in librdkafka's words.
    #[must_use]
    pub fn heard(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for HearingContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        line(level, facility, message);
    }

    fn error(&self, err: KafkaError, reason: &str) {
        error(&err, reason);
        // That all brokers are down is said last, and the reason before it.
        if err.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(plain(reason).to_owned());
        }
    }
}

impl ConsumerContext for HearingContext {}

impl ProducerContext for HearingContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

/// librdkafka's words without its name for the connection before them and its own state behind them.
fn plain(reason: &str) -> &str {
    let reason = reason.split_once("/bootstrap: ").map_or(reason, |(_, said)| said);
    reason.split_once(" (after ").map_or(reason, |(said, _)| said)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_plain() {
        let said = "a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(plain(said), "Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        assert_eq!(
            plain("SASL authentication error: wrong password"),
            "SASL authentication error: wrong password"
        );
    }
}
