//! The thread that reads both topics: first what people said, then the last images, then what comes of either.

use std::collections::HashMap;
use std::time::Instant;

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::watch;

use super::Shared;
use crate::cluster::Cluster;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, Partition, Reader};
use crate::review::{item, label};
use crate::thread::Running;

/// One topic. Each has a reader of its own: that a partition has ended is told by its number alone.
struct Side {
    reader: Reader,
    topic: String,
    /// The partitions that are not read to the end that they had in the beginning, and that end.
    unread: HashMap<i32, i64>,
}

impl Side {
    /// From the beginning, or so many records before the end.
    fn open(
        config: &ClientConfig,
        cluster: &Cluster,
        topic: &str,
        keep: Option<usize>,
        deadline: Instant,
    ) -> Result<Self, ClientError> {
        let reader = Reader::open(&config.kafka, cluster, &[("enable.partition.eof", "true")])?;
        if reader.partitions_now(topic, deadline)?.is_none() {
            let address = cluster.broker.bootstrap_servers.clone();
            return Err(ClientError::NoTopic { topic: topic.to_owned(), address });
        }
        let all_led = |partitions: &[Partition]| partitions.iter().all(|p| p.led);
        let keep = keep.map(|keep| i64::try_from(keep).unwrap_or(i64::MAX));
        let (mut unread, mut positions) = (HashMap::new(), Vec::new());
        for partition in reader.partitions(topic, deadline, all_led)? {
            let (low, high) = reader.bounds(topic, partition.id, deadline)?;
            let start = keep.map_or(low, |keep| low.max(high.saturating_sub(keep)));
            positions.push((partition.id, start));
            if start < high {
                unread.insert(partition.id, high);
            }
        }
        reader.assign(topic, &positions)?;
        Ok(Self { reader, topic: topic.to_owned(), unread })
    }

    /// The next record, if there is one now.
    fn next(&mut self, shared: &Shared, take: impl FnOnce(&BorrowedMessage<'_>)) -> bool {
        match self.reader.poll() {
            None => return false,
            Some(Ok(message)) => {
                take(&message);
                if self.unread.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    self.unread.remove(&message.partition());
                }
                shared.set_fault(None);
            }
            // Behind the last record there may be offsets that hold none.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(self.unread.remove(&partition)),
            Some(Err(error)) => {
                let error = self.reader.fault(&self.topic, error);
                if reading::is_final(&error) {
                    shared.set_fault(Some(error));
                } else {
                    tracing::debug!(%error, topic = self.topic, "following what people look at");
                }
            }
        }
        true
    }
}

/// Reads both topics.
pub(super) struct Follower {
    labels: Side,
    images: Side,
}

impl Follower {
    pub(super) fn open(
        config: &ClientConfig,
        cluster: &Cluster,
        keep: usize,
        deadline: Instant,
    ) -> Result<Self, ClientError> {
        let labels = Side::open(config, cluster, &config.topics.labels, None, deadline)?;
        let images = Side::open(config, cluster, &config.topics.review, Some(keep), deadline)?;
        Ok(Self { labels, images })
    }

    pub(super) fn follow(mut self, shared: &Shared, read: &watch::Sender<bool>, running: &Running) {
        let said = |message: &BorrowedMessage<'_>| {
            if let Some((key, label)) = label(message) {
                shared.change(|table| table.said(key, label));
            }
        };
        let seen = |message: &BorrowedMessage<'_>| {
            if let Some(item) = item(message) {
                shared.change(|table| table.seen(item));
            }
        };
        while running.go_on() && !self.labels.unread.is_empty() {
            self.labels.next(shared, said);
        }
        while running.go_on() {
            while running.go_on() && self.images.next(shared, seen) {}
            if self.images.unread.is_empty() && !*read.borrow() {
                read.send_replace(true);
            }
            while running.go_on() && self.labels.next(shared, said) {}
        }
    }
}
