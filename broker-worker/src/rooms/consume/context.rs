//! What librdkafka calls back, all of it on the consume room's thread, from within poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::{ClientContext, TopicPartitionList};

use super::Shared;
use super::commits::Commits;
use super::refusals::Refusals;
use crate::config::Config;
use crate::health::Pulse;

pub(super) struct Context {
    shared: Shared,
    pulse: Pulse,
    topic: Arc<str>,
    drain: Duration,
    /// A partition of which nothing was committed is read from its beginning.
    from_start: bool,
    /// Partitions were added.
    pub(super) fresh: AtomicBool,
    /// The room has drained already.
    pub(super) closing: AtomicBool,
    pub(super) commits: Commits,
    pub(super) refusals: Refusals,
}

impl Context {
    pub(super) fn new(
        client: &ClientConfig,
        config: &Config,
        topic: Arc<str>,
        shared: Shared,
        pulse: Pulse,
    ) -> Self {
        let reset = client.get("auto.offset.reset");
        Self {
            shared,
            pulse,
            drain: config.group.drain_timeout,
            from_start: matches!(reset, Some("earliest" | "smallest" | "beginning")),
            fresh: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            commits: Commits::default(),
            refusals: Refusals::new(&topic, &config.group.id),
            topic,
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        let Shared { book, health, metrics, .. } = &self.shared;
        if consumer.assignment_lost() {
            tracing::warn!(
                ?partitions,
                "partitions were lost: other workers answer what was taken from them"
            );
            health.set_joined(false);
        } else if !self.closing.load(Ordering::Relaxed) {
            self.pulse.rest();
            // Polling stands still meanwhile, so that nothing more is taken; librdkafka's own thread keeps the session.
            let left = book.drain(partitions, Instant::now() + self.drain);
            if let Err(error) = self.commit_now(consumer) {
                tracing::warn!(%error, "not committed: Kafka delivers some records again");
            }
            if left > 0 {
                tracing::warn!(
                    ?partitions,
                    left,
                    "given back before all was answered: others answer these again"
                );
            }
        }
        book.forget(partitions.iter().copied());
        for partition in partitions {
            metrics.forget_partition(&self.topic, *partition);
        }
    }

    /// Waits until all that is due is committed.
    fn commit_now(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        let due = self.shared.book.due();
        if due.is_empty() {
            return Ok(());
        }
        consumer.commit(&kafka::positions(&self.topic, &due)?, CommitMode::Sync)?;
        due.iter().for_each(|&(partition, offset)| self.shared.book.committed(partition, offset));
        Ok(())
    }

    fn partition(&self, partition: i32, figures: &Partition) {
        let Shared { book, metrics, .. } = &self.shared;
        // -1 is not known: nothing was committed yet.
        if figures.consumer_lag >= 0 {
            metrics.set_lag(&self.topic, partition, figures.consumer_lag);
        }
        // Its committed offset was asked for, and there was none.
        let none = figures.fetch_state == "active" && figures.committed_offset < 0;
        if none && self.from_start && figures.lo_offset >= 0 {
            book.never_committed(partition, figures.lo_offset);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka has one warning of that name. Whoever waits for an answer to what is gone waits in vain.
        if facility == "OFFSET" && matches!(level, RDKafkaLogLevel::Warning) {
            tracing::warn!(
                cause = message,
                "requests may be lost: where the group stood, the topic has no records any more, by its retention or because it \
                 was made anew; reading goes on as auto.offset.reset says"
            );
        } else {
            kafka::log::line(level, facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log::error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Shared { health, metrics, book, .. } = &self.shared;
        let up = |broker: &rdkafka::statistics::Broker| broker.state == "UP" && broker.nodeid >= 0;
        health.set_connected(statistics.brokers.values().any(up));
        if let Some(group) = &statistics.cgrp {
            health.set_joined(group.state == "up" && group.join_state == "steady");
        }
        for (partition, oldest) in book.oldest() {
            let age = oldest.map_or(Duration::ZERO, |oldest| oldest.since.elapsed());
            metrics.set_oldest(&self.topic, partition, age);
        }
        let topic = statistics.topics.get(&*self.topic);
        for (partition, figures) in topic.into_iter().flat_map(|topic| &topic.partitions) {
            if book.owns(*partition) {
                self.partition(*partition, figures);
            }
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Shared { book, health, metrics, .. } = &self.shared;
        metrics.rebalances.inc();
        match rebalance {
            Rebalance::Revoke(list) => {
                let partitions = numbers(list);
                tracing::info!(?partitions, "partitions are given back");
                self.revoke(consumer, &partitions);
            }
            Rebalance::Assign(list) => {
                let partitions = numbers(list);
                if partitions.is_empty() {
                    tracing::debug!("the group has moved, and adds no partitions here");
                } else {
                    tracing::info!(?partitions, "partitions were assigned");
                }
                self.refusals.joined(!partitions.is_empty(), health);
                book.assign(partitions);
            }
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed; librdkafka tries again"),
        }
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(_) = rebalance {
            self.fresh.store(true, Ordering::Relaxed);
            self.shared.health.set_connected(true);
            self.shared.health.set_joined(true);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Shared { book, health, .. } = &self.shared;
        match self.commits.answered(book, result, offsets) {
            Ok(()) => self.refusals.committed(health),
            Err(code) => self.refusals.commit_failed(code, health, Instant::now()),
        }
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}
