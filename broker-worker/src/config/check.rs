//! What must hold of a configuration: each section's own rules, those between sections, and those on the keys that have no
//! section. Each says what to change.

use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use kafka::{Broker, Role};

use super::Config;
use crate::invalid::{Invalid, at_least_one};

/// librdkafka's default for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);
/// Threads of one kind: more than the largest machine has cores, and few enough to start.
const MAX_THREADS: usize = 512;

impl Config {
    /// Checks every rule.
    ///
    /// # Errors
    /// [`Invalid`], the first that does not hold.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.batching.check()?;
        self.queue.check()?;
        self.group.check()?;
        self.topics.check()?;
        self.limits.check()?;
        self.metrics.check()?;
        self.review.check()?;
        // A broker that is away is said once every few seconds by the worker itself; librdkafka says it at each attempt.
        let understood = self.log.filter(kafka::log::TARGET).map(drop);
        understood.map_err(|source| Invalid::LogLevel { level: self.log.level.clone(), source })?;
        self.check_rest()?;
        self.check_between()?;
        self.check_delivery()?;
        // librdkafka's own view; the address is of no matter here.
        for role in [Role::Consumer, Role::Producer, Role::Admin] {
            self.kafka.client_config(&Broker::kafka("localhost:9092"), role)?;
        }
        Ok(())
    }

    /// What one section makes of another.
    fn check_between(&self) -> Result<(), Invalid> {
        let (high, max) = (self.queue.backpressure.high_requests, self.batching.max_batch_size);
        if high < max {
            return fail(format!(
                "queue.backpressure.high_requests, {high}, must be batching.max_batch_size, {max}, or more: no batch would ever be full"
            ));
        }
        let max_poll = self.max_poll_interval()?;
        let (session, grace) = (self.group.session_timeout, self.shutdown.grace);
        if session > max_poll {
            return fail(format!(
                "group.session_timeout, {}, must not be above max.poll.interval.ms, {}",
                format_duration(session),
                format_duration(max_poll)
            ));
        }
        if grace >= max_poll {
            return fail(format!(
                "shutdown.grace, {}, must be below max.poll.interval.ms, {}",
                format_duration(grace),
                format_duration(max_poll)
            ));
        }
        Ok(())
    }

    /// Settings of librdkafka's that it takes and that would lose requests or answers, or hold them up for ever.
    fn check_delivery(&self) -> Result<(), Invalid> {
        let given = |role: Role, key: &str| {
            let own = if role == Role::Consumer { &self.kafka.consumer } else { &self.kafka.producer };
            own.get(key).or_else(|| self.kafka.common.get(key)).map(|value| value.trim().to_lowercase())
        };
        for key in ["acks", "request.required.acks"] {
            if let Some(value) = given(Role::Producer, key).filter(|v| v != "all" && v != "-1") {
                return fail(format!(
                    "kafka: {key} is {value}, and must be all: an answer that one broker alone has can be lost with it"
                ));
            }
        }
        if let Some(value) = given(Role::Producer, "enable.idempotence").filter(|v| v != "true") {
            return fail(format!(
                "kafka: enable.idempotence is {value}, and must be true: answers would come twice or in another order"
            ));
        }
        if let Some(value) = given(Role::Producer, "delivery.report.only.error").filter(|v| v != "false") {
            return fail(format!(
                "kafka: delivery.report.only.error is {value}, and must be false: the worker commits what the broker is reported to have"
            ));
        }
        let largest = self.limits.max_request_bytes + kafka::DEAD_LETTER_BYTES;
        if let Some(kbytes) = given(Role::Producer, "queue.buffering.max.kbytes")
            && kbytes.parse::<usize>().is_ok_and(|kbytes| kbytes.saturating_mul(1024) < largest)
        {
            return fail(format!(
                "kafka: queue.buffering.max.kbytes is {kbytes}, and must be {} or more: the largest record, a dead letter of limits.max_request_bytes, would never fit",
                largest.div_ceil(1024)
            ));
        }
        if let Some(value) = given(Role::Consumer, "auto.offset.reset")
            .filter(|v| !["earliest", "smallest", "beginning"].contains(&v.as_str()))
        {
            return fail(format!(
                "kafka: auto.offset.reset is {value}, and must be earliest: requests that lie on the topic before the group's first worker comes would be skipped"
            ));
        }
        if given(Role::Consumer, "auto.commit.interval.ms").is_some() {
            return fail(
                "kafka: auto.commit.interval.ms has no effect here, since the worker itself commits within a moment of each answer: leave it out",
            );
        }
        Ok(())
    }

    fn check_rest(&self) -> Result<(), Invalid> {
        at_least_one("top_k", self.top_k)?;
        for (key, threads) in
            [("instances", self.instance_count()), ("decode_threads", self.decode_thread_count())]
        {
            at_least_one(key, threads)?;
            if threads > MAX_THREADS {
                return fail(format!(
                    "{key}, {threads}, must be {MAX_THREADS} or fewer: one for each core is quickest"
                ));
            }
        }
        if self.shutdown.grace.is_zero() {
            return fail("shutdown.grace is 0: what was taken needs a moment to be answered");
        }
        if self
            .name
            .as_deref()
            .is_some_and(|name| name.is_empty() || name.chars().any(|c| c.is_control() || c == '/'))
        {
            return fail("name must not be empty or hold '/': it is part of the announcements' keys");
        }
        if self.models.default.is_empty() {
            return fail("models.default is empty: name the model for requests that name none");
        }
        Ok(())
    }

    fn max_poll_interval(&self) -> Result<Duration, Invalid> {
        let key = "max.poll.interval.ms";
        let raw = self.kafka.consumer.get(key).or_else(|| self.kafka.common.get(key));
        raw.map_or(Ok(MAX_POLL_INTERVAL), |text| {
            text.parse().map(Duration::from_millis).map_err(|source| Invalid::NotANumber {
                key,
                text: text.clone(),
                source,
            })
        })
    }
}

fn fail(sentence: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid::rule(sentence))
}

#[cfg(test)]
mod tests;
