//! What must hold between the keys of a configuration. Each rule says what to change.

use std::num::ParseIntError;
use std::time::Duration;

use kafka::{Broker, Role, SettingsError, TopicNameError};
use tracing_subscriber::filter::ParseError;

use super::{BackPressure, Config, Protocol};

/// librdkafka's default for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);
/// Threads of one kind: more than the largest machine has cores, and few enough to start.
const MAX_THREADS: usize = 512;

/// What is wrong with a configuration whose keys can all be read. One sentence.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// A rule does not hold; the sentence names the keys and says what to change.
    #[error("{0}")]
    Rule(String),
    /// The `kafka` section can't be used.
    #[error(transparent)]
    Kafka(#[from] SettingsError),
    /// A topic can't have its name.
    #[error(transparent)]
    Topics(#[from] TopicNameError),
    /// One of librdkafka's own settings is no number.
    #[error("kafka: {key} is not a number: {text}")]
    NotANumber {
        /// Its name.
        key: &'static str,
        /// What it is.
        text: String,
        /// Why that is none.
        source: ParseIntError,
    },
    /// `log.level` can't be read.
    #[error("log.level '{level}' is not understood: {source}")]
    LogLevel {
        /// What it is.
        level: String,
        /// Why that is none.
        source: ParseError,
    },
}

impl Config {
    /// Checks every rule.
    ///
    /// # Errors
    /// [`Invalid`], the first that does not hold.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check_batching()?;
        self.check_queue()?;
        self.check_group()?;
        self.check_topics()?;
        self.check_limits()?;
        self.check_rest()?;
        self.check_delivery()?;
        // librdkafka's own view; the address is of no matter here.
        for role in [Role::Consumer, Role::Producer, Role::Admin] {
            self.kafka.client_config(&Broker::kafka("localhost:9092"), role)?;
        }
        Ok(())
    }

    fn check_batching(&self) -> Result<(), Invalid> {
        let max = self.batching.max_batch_size;
        at_least_one("batching.max_batch_size", max)?;
        match self.batching.preferred_batch_size.iter().find(|size| **size == 0 || **size > max) {
            Some(size) => fail(format!(
                "batching.preferred_batch_size holds {size}: each must be from 1 to batching.max_batch_size, {max}"
            )),
            None => Ok(()),
        }
    }

    fn check_queue(&self) -> Result<(), Invalid> {
        let queue = &self.queue;
        let BackPressure { high_requests, low_requests, high_bytes, low_bytes } = queue.backpressure;
        let at = "queue.backpressure";
        at_least_one("queue.backpressure.high_requests", high_requests)?;
        at_least_one("queue.backpressure.high_bytes", high_bytes)?;
        if low_requests >= high_requests {
            return fail(format!(
                "{at}.low_requests, {low_requests}, must be below {at}.high_requests, {high_requests}"
            ));
        }
        if low_bytes >= high_bytes {
            return fail(format!("{at}.low_bytes, {low_bytes}, must be below {at}.high_bytes, {high_bytes}"));
        }
        if high_requests < self.batching.max_batch_size {
            return fail(format!(
                "{at}.high_requests, {high_requests}, must be batching.max_batch_size, {}, or more: no batch would ever be full",
                self.batching.max_batch_size
            ));
        }
        if queue.max_queue_size >= high_requests {
            return fail(format!(
                "queue.max_queue_size, {}, must be below {at}.high_requests, {high_requests}: consuming pauses there, so that no request would ever be refused",
                queue.max_queue_size
            ));
        }
        let (levels, default) = (queue.priority_levels, queue.default_priority_level);
        if levels > 0 && !(1..=levels).contains(&default) {
            return fail(format!(
                "queue.default_priority_level, {default}, must be from 1 to queue.priority_levels, {levels}"
            ));
        }
        if levels > 1000 {
            return fail(format!("queue.priority_levels, {levels}, must be 1000 or fewer"));
        }
        Ok(())
    }

    fn check_group(&self) -> Result<(), Invalid> {
        let group = &self.group;
        if group.id.trim().is_empty() {
            return fail(
                "group.id is empty: workers that share the work have one name for their group".into(),
            );
        }
        if group.protocol == Protocol::Classic && group.session_timeout < Duration::from_secs(1) {
            return fail("group.session_timeout must be 1s or more; Kafka's own lower bound is 6s".into());
        }
        if group.drain_timeout >= group.session_timeout {
            return fail(format!(
                "group.drain_timeout, {}, must be below group.session_timeout, {}: Kafka gives the partitions away after that",
                show(group.drain_timeout),
                show(group.session_timeout)
            ));
        }
        let max_poll = self.max_poll_interval()?;
        if group.session_timeout > max_poll {
            return fail(format!(
                "group.session_timeout, {}, must not be above max.poll.interval.ms, {}",
                show(group.session_timeout),
                show(max_poll)
            ));
        }
        if self.shutdown.grace >= max_poll {
            return fail(format!(
                "shutdown.grace, {}, must be below max.poll.interval.ms, {}",
                show(self.shutdown.grace),
                show(max_poll)
            ));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Invalid> {
        let limits = &self.limits;
        at_least_one("limits.max_request_bytes", limits.max_request_bytes)?;
        at_least_one("limits.max_image_width", limits.max_image_width)?;
        at_least_one("limits.max_image_height", limits.max_image_height)?;
        at_least_one("limits.max_image_alloc_bytes", limits.max_image_alloc_bytes)?;
        if limits.max_request_bytes > wire::MAX_VALUE_BYTES {
            return fail(format!(
                "limits.max_request_bytes, {}, must be {} or fewer",
                limits.max_request_bytes,
                wire::MAX_VALUE_BYTES
            ));
        }
        Ok(())
    }

    fn check_topics(&self) -> Result<(), Invalid> {
        for (key, value) in
            [("partitions", self.topics.partitions), ("replication_factor", self.topics.replication_factor)]
        {
            if value < 1 && value != -1 {
                return fail(format!(
                    "topics.{key}, {value}, must be at least 1, or -1 for the broker's default"
                ));
            }
        }
        Ok(self.topics.names.check()?)
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
                "kafka: auto.commit.interval.ms has no effect here, since the worker itself commits within a moment of each answer: leave it out"
                    .into(),
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
            return fail("shutdown.grace is 0: what was taken needs a moment to be answered".into());
        }
        if self
            .name
            .as_deref()
            .is_some_and(|name| name.is_empty() || name.chars().any(|c| c.is_control() || c == '/'))
        {
            return fail("name must not be empty or hold '/': it is part of the announcements' keys".into());
        }
        if self.models.default.is_empty() {
            return fail("models.default is empty: name the model for requests that name none".into());
        }
        crate::telemetry::filter(&self.log.level)
            .map(drop)
            .map_err(|source| Invalid::LogLevel { level: self.log.level.clone(), source })
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

fn fail(reason: String) -> Result<(), Invalid> {
    Err(Invalid::Rule(reason))
}

fn at_least_one<N: Default + PartialEq>(key: &str, value: N) -> Result<(), Invalid> {
    if value == N::default() { fail(format!("{key} is 0: it must be at least 1")) } else { Ok(()) }
}

fn show(duration: Duration) -> String {
    humantime_serde::re::humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests;
