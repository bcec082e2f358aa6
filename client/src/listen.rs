//! Every result on the topic, whoever asked for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use kafka::Broker;
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::mpsc;
use wire::{Headers, Response, header};

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::reading::{self, POLL, Reader};

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

/// Reads all partitions of the results topic. Partitions that are added later are not seen.
#[derive(Debug)]
pub struct Listener {
    results: mpsc::Receiver<Incoming>,
    broker: Broker,
    partitions: usize,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Connects and learns its position on each partition: whatever is answered after this returns is seen.
    ///
    /// # Errors
    /// [`ClientError`] as [`crate::Client::connect`].
    pub async fn open(config: &ClientConfig, start: Start) -> Result<Self, ClientError> {
        let deadline = Instant::now() + config.connect_timeout;
        let broker = config.broker(deadline).await?;
        let config = config.clone();
        reading::blocking(move || Self::start(&config, broker, start, deadline)).await
    }

    fn start(
        config: &ClientConfig,
        broker: Broker,
        start: Start,
        deadline: Instant,
    ) -> Result<Self, ClientError> {
        let topic = &config.topics.results;
        let reader = reading::reader(&config.kafka, &broker, &[])?;
        let partitions = reading::partitions(&reader, topic, &broker, deadline)?;
        let positions = partitions
            .iter()
            .map(|&partition| {
                let (low, high) = reading::bounds(&reader, topic, partition, deadline)?;
                Ok((partition, if start == Start::Beginning { low } else { high }))
            })
            .collect::<Result<Vec<_>, ClientError>>()?;
        reading::assign(&reader, topic, &positions)?;
        let (sender, results) = mpsc::channel(256);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("client-listener".to_owned())
            .spawn(move || read(&reader, &sender, &stopped))
            .map_err(ClientError::kafka)?;
        Ok(Self { results, broker, partitions: positions.len(), stop, thread: Some(thread) })
    }

    /// The next result.
    ///
    /// # Errors
    /// [`ClientError::Closed`] where its thread has ended.
    pub async fn next(&mut self) -> Result<Incoming, ClientError> {
        self.results.recv().await.ok_or(ClientError::Closed)
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
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that waits for room in the channel is woken by this.
        self.results.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::debug!("the thread that listens panicked");
        }
    }
}

fn read(reader: &Reader, sender: &mpsc::Sender<Incoming>, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        match reader.poll(POLL) {
            Some(Ok(message)) if sender.blocking_send(incoming(&message)).is_err() => return,
            Some(Ok(_)) | None => {}
            Some(Err(error)) => tracing::debug!(%error, "listening"),
        }
    }
}

fn incoming(message: &BorrowedMessage<'_>) -> Incoming {
    let headers: Headers = kafka::from_headers(message.headers()).into_iter().collect();
    let response = Response::decode(&headers, message.payload().unwrap_or_default());
    let header = headers.get(header::ID).and_then(|id| std::str::from_utf8(id).ok()).map(str::to_owned);
    let request_id = response.as_ref().ok().map(|r| r.request_id.clone()).or(header);
    Incoming { partition: message.partition(), offset: message.offset(), request_id, response }
}
