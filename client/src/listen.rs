//! Every result on the topic, whoever asked for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_core::Stream;
use kafka::Broker;
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::mpsc;
use wire::{Headers, Response, header};

use crate::cluster::Cluster;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, Partition, Reader};
use crate::thread::{Running, Thread};

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    End,
    /// With the oldest result that is still there.
    Beginning,
}

/// A result, as it came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incoming {
    /// The partition that it came on.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The request's id, where a header or the value says it.
    pub request_id: Option<String>,
    /// The result, where the value can be read.
    pub response: Result<Response, wire::DecodeError>,
}

/// Reads all partitions of the results topic. Partitions that are added later are not seen. A [`Stream`], and
/// [`Listener::next`] without one; it ends after an error that lasts, and when it is closed.
#[derive(Debug)]
pub struct Listener {
    results: mpsc::Receiver<Result<Incoming, ClientError>>,
    broker: Broker,
    partitions: usize,
    thread: Thread,
}

impl Listener {
    /// Connects and learns its position on each partition: whatever is answered after this returns is seen.
    ///
    /// # Errors
    /// [`ClientError`] as [`crate::Client::connect`].
    pub async fn open(config: &ClientConfig, start: Start) -> Result<Self, ClientError> {
        let deadline = config.connect_deadline()?;
        let cluster = config.cluster(deadline).await?;
        let config = config.clone();
        reading::blocking(move || Self::start(&config, &cluster, start, deadline)).await
    }

    fn start(
        config: &ClientConfig,
        cluster: &Cluster,
        start: Start,
        deadline: Instant,
    ) -> Result<Self, ClientError> {
        let topic = &config.topics.results;
        let reader = Reader::open(&config.kafka, cluster, &[])?;
        let all_led = |partitions: &[Partition]| partitions.iter().all(|p| p.led);
        let positions = reader
            .partitions(topic, deadline, all_led)?
            .iter()
            .map(|partition| {
                let (low, high) = reader.bounds(topic, partition.id, deadline)?;
                Ok((partition.id, if start == Start::Beginning { low } else { high }))
            })
            .collect::<Result<Vec<_>, ClientError>>()?;
        reader.assign(topic, &positions)?;
        let (sender, results) = mpsc::channel(256);
        let topic = topic.clone();
        let thread =
            Thread::start("client-listener", move |running| read(&reader, &topic, &sender, running))?;
        Ok(Self { results, broker: cluster.broker.clone(), partitions: positions.len(), thread })
    }

    /// The next result; `None` after an error that lasts.
    ///
    /// # Errors
    /// [`ClientError`] where the topic can't be read.
    pub async fn next(&mut self) -> Option<Result<Incoming, ClientError>> {
        self.results.recv().await
    }

    /// The broker that it is connected to.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// How many partitions it reads.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Ends it and waits until its thread has ended.
    ///
    /// # Errors
    /// [`ClientError::Thread`] where that had panicked.
    pub async fn close(self) -> Result<(), ClientError> {
        // A thread that waits for room in the channel is woken by this.
        drop(self.results);
        self.thread.close().await
    }
}

impl Stream for Listener {
    type Item = Result<Incoming, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.results.poll_recv(cx)
    }
}

fn read(
    reader: &Reader,
    topic: &str,
    sender: &mpsc::Sender<Result<Incoming, ClientError>>,
    running: &Running,
) {
    while running.go_on() {
        match reader.poll() {
            Some(Ok(message)) if sender.blocking_send(Ok(incoming(&message))).is_err() => return,
            Some(Ok(_)) | None => {}
            Some(Err(error)) => {
                let error = reader.fault(topic, error);
                if reading::is_final(&error) {
                    // A reader that is gone wants to hear nothing.
                    sender.blocking_send(Err(error)).ok();
                    return;
                }
                tracing::debug!(%error, "listening");
            }
        }
    }
}

fn incoming(message: &BorrowedMessage<'_>) -> Incoming {
    let headers: Headers = kafka::from_headers(message).unwrap_or_default().into_iter().collect();
    let response = Response::decode(&headers, message.payload().unwrap_or_default());
    let header = headers.get(header::ID).and_then(|id| std::str::from_utf8(id).ok()).map(str::to_owned);
    let request_id = response.as_ref().ok().map(|r| r.request_id.clone()).or(header);
    Incoming { partition: message.partition(), offset: message.offset(), request_id, response }
}
