//! Which partitions are paused: all of them while the worker is full, and each alone that is too far ahead of its first
//! unanswered record.

use std::collections::BTreeSet;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;

use super::Consume;
use crate::pressure::Flow;

impl Consume {
    pub(super) fn pause(&self) {
        self.shared.metrics.paused.set(1);
        tracing::debug!(amount = ?self.shared.pressure.amount(), "the worker is full: partitions are paused");
        self.with_assignment("paused", |assignment| self.consumer.pause(assignment));
    }

    /// All partitions but those that are paused alone.
    pub(super) fn resume(&self) {
        self.shared.metrics.paused.set(0);
        tracing::debug!("there is room again: partitions are resumed");
        self.with_assignment("resumed", |assignment| {
            let mut those = TopicPartitionList::new();
            for element in assignment.elements() {
                if !self.ahead.contains(&element.partition()) {
                    those.add_partition(element.topic(), element.partition());
                }
            }
            self.consumer.resume(&those)
        });
    }

    pub(super) fn with_assignment(&self, what: &str, act: impl Fn(&TopicPartitionList) -> KafkaResult<()>) {
        match self
            .consumer
            .assignment()
            .and_then(|assignment| if assignment.count() == 0 { Ok(()) } else { act(&assignment) })
        {
            Ok(()) => {}
            // A partition that has just gone: the rebalance that took it is seen in the next poll.
            Err(error) => tracing::debug!(%error, "not all partitions could be {what}"),
        }
    }

    /// Pauses that partition alone: were the worker killed, all that is answered behind its first unanswered record would
    /// be answered again.
    pub(super) fn hold_back(&mut self, partition: i32) {
        if self.ahead.insert(partition) {
            let oldest = self.shared.book.oldest().into_iter().find(|(p, _)| *p == partition);
            let oldest = oldest.and_then(|(_, oldest)| oldest);
            tracing::warn!(
                partition,
                offset = oldest.map(|oldest| oldest.offset),
                seconds = oldest.map(|oldest| oldest.since.elapsed().as_secs()),
                "a record has no answer yet and many behind it have: its partition is paused until it has"
            );
            self.alone("paused", partition, |those| self.consumer.pause(those));
        }
        self.shared.metrics.held_back.set(i64::try_from(self.ahead.len()).unwrap_or(i64::MAX));
    }

    /// Resumes the partitions that are no longer too far ahead.
    pub(super) fn let_on(&mut self) {
        if self.ahead.is_empty() {
            return;
        }
        let book = &self.shared.book;
        let (ahead, on): (BTreeSet<i32>, BTreeSet<i32>) =
            self.ahead.iter().partition(|p| book.ahead(**p) > self.marks.high_requests);
        self.ahead = ahead;
        for partition in on {
            tracing::info!(partition, "its records are answered: the partition is resumed");
            if self.flow != Flow::Paused {
                self.alone("resumed", partition, |those| self.consumer.resume(those));
            }
        }
        self.shared.metrics.held_back.set(i64::try_from(self.ahead.len()).unwrap_or(i64::MAX));
    }

    fn alone(&self, what: &str, partition: i32, act: impl Fn(&TopicPartitionList) -> KafkaResult<()>) {
        let mut that = TopicPartitionList::new();
        that.add_partition(&self.topic, partition);
        if let Err(error) = act(&that) {
            tracing::debug!(partition, %error, "the partition could not be {what}");
        }
    }

    /// After partitions were added: they come as they were left when this consumer last had them, paused or not.
    pub(super) fn begin_partitions(&self) {
        if self.flow == Flow::Paused {
            self.pause();
        } else {
            self.resume();
        }
    }
}
