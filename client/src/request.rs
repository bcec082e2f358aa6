//! The client itself: one connection, many callers.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kafka::Broker;
use tokio::time::Instant;
use wire::{ReplyTo, Request, Response};

use crate::config::{Ask, ClientConfig};
use crate::error::ClientError;
use crate::pending::Table;
use crate::reading;
use crate::replies::Replies;
use crate::sending::{Outgoing, Sending};
use crate::ticket::Ticket;
use crate::window::Window;

/// A connection. Clones share it; the last one to go ends its threads.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    broker: Broker,
    reply_partition: i32,
    table: Arc<Table>,
    window: Window,
    sending: Sending,
    replies: Replies,
}

impl Client {
    /// Connects, and learns the position of the reply partition before any request can be sent.
    ///
    /// # Errors
    /// [`ClientError`] where no broker is found, where it can't be reached or lacks the topics within
    /// [`ClientConfig::connect_timeout`], or where the settings can't be used.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let deadline = std::time::Instant::now() + config.connect_timeout;
        let broker = config.broker(deadline).await?;
        reading::blocking(move || Inner::start(config, broker, deadline))
            .await
            .map(|inner| Self(Arc::new(inner)))
    }

    /// The broker that it is connected to.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.0.broker
    }

    /// The partition of the results topic that its answers come on.
    #[must_use]
    pub fn reply_partition(&self) -> i32 {
        self.0.reply_partition
    }

    /// How many requests are open.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.0.table.len()
    }

    pub(crate) fn max_in_flight(&self) -> usize {
        self.0.config.max_in_flight
    }

    /// Sends one image and waits for the answer, labels or a worker's error.
    ///
    /// # Errors
    /// [`ClientError`] where there is no answer within the time-out, which includes waiting for a place among the open
    /// requests, or where the request is too large or can't be delivered.
    pub async fn predict(&self, image: Vec<u8>, ask: Ask) -> Result<Response, ClientError> {
        let deadline = Instant::now() + ask.timeout.unwrap_or(self.0.config.timeout);
        self.open(image, &ask, Some(deadline)).await?.answer().await
    }

    /// Sends one image and returns when the broker has it; the answer comes on the results topic, where
    /// [`crate::Listener`] sees it. On the embedded broker its bytes count as open until it is answered or timed out.
    ///
    /// # Errors
    /// As [`Self::predict`], for the acknowledgement.
    pub async fn send(&self, image: Vec<u8>, ask: Ask) -> Result<String, ClientError> {
        let mut ticket = self.submit(image, &ask).await?;
        ticket.acknowledged().await?;
        let id = ticket.id.clone();
        if self.0.broker.embedded {
            tokio::spawn(ticket.answer());
        }
        Ok(id)
    }

    /// Sends one image as soon as there is a place for it; its time begins then.
    ///
    /// # Errors
    /// [`ClientError`] where the request is too large or librdkafka does not take it.
    pub async fn submit(&self, image: Vec<u8>, ask: &Ask) -> Result<Ticket, ClientError> {
        self.open(image, ask, None).await
    }

    async fn open(
        &self,
        image: Vec<u8>,
        ask: &Ask,
        deadline: Option<Instant>,
    ) -> Result<Ticket, ClientError> {
        let timeout = ask.timeout.unwrap_or(self.0.config.timeout);
        let mut request = Request {
            model: ask.model.clone(),
            model_version: ask.version,
            top_k: ask.top_k,
            priority: ask.priority,
            ..Request::new(image)
        };
        let late =
            |id: &str| ClientError::Timeout { id: id.to_owned(), waited: timeout, acknowledged: false };
        let limit = self.0.broker.max_record_bytes();
        let estimate = encoded_size(&request, ask);
        if estimate > limit {
            return Err(ClientError::TooLarge { bytes: estimate, limit, embedded: self.0.broker.embedded });
        }
        let entering = self.0.window.enter(estimate);
        let place = match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, entering).await.map_err(|_| late(&request.id))??
            }
            None => entering.await?,
        };
        let sent_at = Instant::now();
        let deadline = deadline.unwrap_or(sent_at + timeout);
        let left = SignedDuration::try_from(deadline - sent_at).unwrap_or(SignedDuration::MAX);
        request.deadline = Timestamp::now().checked_add(left).ok();
        let outgoing = self.0.record(&request, ask);
        let ticket = Ticket {
            waiting: self.0.table.insert(&request.id),
            id: request.id,
            table: Arc::clone(&self.0.table),
            acknowledged: false,
            timeout,
            sent_at,
            deadline,
            _place: place,
        };
        let sending = self.0.sending.send(&self.0.config.topics.requests, outgoing);
        tokio::time::timeout_at(deadline, sending).await.map_err(|_| late(&ticket.id))??;
        Ok(ticket)
    }
}

/// The record's size before it is encoded, headers and key included, not less than it will be.
fn encoded_size(request: &Request, ask: &Ask) -> usize {
    let image = request.image.len();
    let value = if ask.format == wire::Encoding::Json { image.div_ceil(3) * 4 + 512 } else { image + 192 };
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let trace = text(&ask.trace.parent) + text(&ask.trace.state) + text(&ask.trace.baggage);
    // The model's name and the topic's stand in the headers, the name in the value too.
    value + 2 * text(&ask.model) + text(&ask.key) + trace + 768
}

impl Inner {
    fn start(
        config: ClientConfig,
        broker: Broker,
        deadline: std::time::Instant,
    ) -> Result<Self, ClientError> {
        let reader = reading::reader(&config.kafka, &broker, &[])?;
        let topics = &config.topics;
        reading::partitions(&reader, &topics.requests, &broker, deadline)?;
        let partitions = reading::partitions(&reader, &topics.results, &broker, deadline)?;
        let reply_partition = pick(&partitions).ok_or(ClientError::Closed)?;
        let (_, end) = reading::bounds(&reader, &topics.results, reply_partition, deadline)?;
        reading::assign(&reader, &topics.results, &[(reply_partition, end)])?;
        let bytes = if broker.embedded {
            config.max_in_flight_bytes.min(kafka::embedded::WINDOW_BYTES)
        } else {
            config.max_in_flight_bytes
        };
        let table = Arc::new(Table::default());
        Ok(Self {
            window: Window::new(config.max_in_flight, bytes),
            sending: Sending::start(&config.kafka, &broker, Arc::clone(&table))?,
            replies: Replies::start(reader, Arc::clone(&table))?,
            table,
            reply_partition,
            broker,
            config,
        })
    }

    fn record(&self, request: &Request, ask: &Ask) -> Outgoing {
        let reply_to = ReplyTo {
            topic: Some(self.config.topics.results.clone()),
            partition: Some(self.reply_partition),
            correlation_id: Some(request.id.clone().into_bytes()),
        };
        let headers =
            request.headers(ask.format, &self.config.source, Timestamp::now(), &reply_to, &ask.trace);
        Outgoing {
            id: request.id.clone(),
            key: ask.key.clone().unwrap_or_else(|| request.id.clone()),
            headers,
            value: request.encode(ask.format),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // So that its thread ends while the producer's does.
        self.replies.stop();
    }
}

/// One of them, so that clients spread over the partitions.
fn pick(partitions: &[i32]) -> Option<i32> {
    let random = wire::new_request_id()
        .bytes()
        .rev()
        .take(8)
        .fold(0, |n: usize, b| n.wrapping_mul(31).wrapping_add(usize::from(b)));
    partitions.get(random.checked_rem(partitions.len())?).copied()
}

#[cfg(test)]
mod tests {
    use wire::{Encoding, TraceContext};

    use super::*;

    #[test]
    fn the_size_counted_is_not_less_than_the_record() {
        let trace = TraceContext {
            parent: Some("p".repeat(55)),
            state: Some("s".repeat(400)),
            baggage: Some("b".repeat(4000)),
        };
        for format in Encoding::ALL {
            for bytes in [0, 1, 100, 1_000_003] {
                for full in [false, true] {
                    let mut request = Request::new(vec![0xff; bytes]);
                    let mut ask = Ask { format, ..Ask::default() };
                    if full {
                        request.model = Some("m".repeat(200));
                        request.model_version = Some(u32::MAX);
                        request.top_k = Some(u32::MAX);
                        request.priority = Some(u32::MAX);
                        ask = Ask { model: request.model.clone(), key: Some("k".repeat(300)), ..ask };
                        ask.trace = trace.clone();
                    }
                    request.deadline = Some(Timestamp::now());
                    let reply_to = ReplyTo {
                        topic: Some("predict.results".to_owned()),
                        partition: Some(i32::MAX),
                        correlation_id: Some(request.id.clone().into_bytes()),
                    };
                    let headers =
                        request.headers(format, "/mlaas/client", Timestamp::now(), &reply_to, &ask.trace);
                    let record = Outgoing {
                        id: request.id.clone(),
                        key: ask.key.clone().unwrap_or_else(|| request.id.clone()),
                        headers,
                        value: request.encode(format),
                    };
                    let counted = encoded_size(&request, &ask);
                    assert!(counted >= record.bytes(), "{format} {bytes}: {counted} < {}", record.bytes());
                    assert!(counted <= record.bytes() + 1500, "{format} {bytes}: {counted} is far too much");
                }
            }
        }
    }

    #[test]
    fn a_partition_is_picked_among_those_there_are() {
        assert_eq!(pick(&[]), None);
        assert_eq!(pick(&[7]), Some(7));
        let picked: std::collections::HashSet<_> = (0..200).map(|_| pick(&[3, 4, 5])).collect();
        assert_eq!(picked, [Some(3), Some(4), Some(5)].into());
    }
}
