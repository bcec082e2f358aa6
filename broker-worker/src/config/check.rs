//! What must hold between the keys of a configuration. Each rule says what to change.

use std::time::Duration;

use kafka::{Broker, Role};

use super::{BackPressure, Config, Protocol};

/// librdkafka's default for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Config {
    /// Checks every rule.
    ///
    /// # Errors
    /// [`Invalid`], the first that does not hold.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check_batching()?;
        self.check_queue()?;
        self.check_group()?;
        self.check_rest()?;
        // librdkafka's own view; the address is of no matter here.
        for role in [Role::Consumer, Role::Producer, Role::Admin] {
            self.kafka
                .client_config(&Broker::kafka("localhost:9092"), role)
                .map_err(|e| Invalid(e.to_string()))?;
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

    fn check_rest(&self) -> Result<(), Invalid> {
        at_least_one("top_k", self.top_k)?;
        at_least_one("instances", self.instance_count())?;
        at_least_one("decode_threads", self.decode_thread_count())?;
        at_least_one("limits.max_request_bytes", self.limits.max_request_bytes)?;
        if self.limits.max_request_bytes > wire::MAX_VALUE_BYTES {
            return fail(format!(
                "limits.max_request_bytes, {}, must be {} or fewer",
                self.limits.max_request_bytes,
                wire::MAX_VALUE_BYTES
            ));
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
        for (key, value) in
            [("partitions", self.topics.partitions), ("replication_factor", self.topics.replication_factor)]
        {
            if value < 1 && value != -1 {
                return fail(format!(
                    "topics.{key}, {value}, must be at least 1, or -1 for the broker's default"
                ));
            }
        }
        let topics = self.topics.names();
        let mut names = topics.names().to_vec();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return fail(format!("topics: {} is named twice: each must be another", pair[0]));
        }
        crate::telemetry::filter(&self.log.level)
            .map(drop)
            .map_err(|e| Invalid(format!("log.level '{}' is not understood: {e}", self.log.level)))
    }

    fn max_poll_interval(&self) -> Result<Duration, Invalid> {
        let key = "max.poll.interval.ms";
        let raw = self.kafka.consumer.get(key).or_else(|| self.kafka.common.get(key));
        raw.map_or(Ok(MAX_POLL_INTERVAL), |text| {
            text.parse()
                .map(Duration::from_millis)
                .map_err(|_| Invalid(format!("kafka: {key} is not a number: {text}")))
        })
    }
}

fn fail(reason: String) -> Result<(), Invalid> {
    Err(Invalid(reason))
}

fn at_least_one(key: &str, value: usize) -> Result<(), Invalid> {
    if value == 0 { fail(format!("{key} is 0: it must be at least 1")) } else { Ok(()) }
}

fn show(duration: Duration) -> String {
    humantime_serde::re::humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn each_rule_names_the_keys_that_break_it() {
        let cases = [
            ("batching: {max_batch_size: 0}", "batching.max_batch_size is 0"),
            ("batching: {max_batch_size: 8, preferred_batch_size: [4, 16]}", "holds 16"),
            ("batching: {max_batch_size: 300}", "no batch would ever be full"),
            ("queue: {max_queue_size: 128}", "no request would ever be refused"),
            ("queue: {backpressure: {low_requests: 128}}", "low_requests, 128, must be below"),
            ("queue: {backpressure: {low_bytes: 67108864}}", "low_bytes, 67108864, must be below"),
            ("queue: {priority_levels: 3, default_priority_level: 4}", "from 1 to queue.priority_levels, 3"),
            ("group: {id: ' '}", "group.id is empty"),
            (
                "group: {drain_timeout: 10s}",
                "group.drain_timeout, 10s, must be below group.session_timeout, 10s",
            ),
            (
                "group: {session_timeout: 10min, drain_timeout: 1s}",
                "must not be above max.poll.interval.ms, 5m",
            ),
            ("shutdown: {grace: 5min}", "shutdown.grace, 5m, must be below"),
            ("kafka: {consumer: {max.poll.interval.ms: '15000'}}", "shutdown.grace, 20s, must be below"),
            ("shutdown: {grace: 0s}", "shutdown.grace is 0"),
            ("top_k: 0", "top_k is 0"),
            ("instances: 0", "instances is 0"),
            ("limits: {max_request_bytes: 99999999}", "limits.max_request_bytes"),
            ("topics: {results: predict.requests}", "predict.requests is named twice"),
            ("topics: {partitions: 0}", "topics.partitions, 0, must be"),
            ("name: a/b", "name must not"),
            ("log: {level: 'nonsense=;='}", "log.level"),
            ("kafka: {sasl_username: me, common: {sasl.username: me}}", "are the same setting"),
            ("kafka: {common: {no.such.key: 1}}", "no.such.key"),
        ];
        for (text, expected) in cases {
            let config: Config = serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let error = config.validate().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }
}
