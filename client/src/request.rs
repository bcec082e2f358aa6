//! The client itself: one connection, many callers.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kafka::Broker;
use tokio::time::Instant;
use wire::{ReplyTo, Request, Response};

use crate::claim::Claim;
use crate::cluster::Cluster;
use crate::config::{ClientConfig, ReplyPartition, not_zero};
use crate::error::ClientError;
use crate::options::Options;
use crate::pending::Table;
use crate::reading::{self, Partition, Reader};
use crate::replies;
use crate::sending::{Outgoing, Sending};
use crate::thread::Thread;
use crate::ticket::{Ticket, within};
use crate::window::Window;

/// A connection. Clones share it; the last one to go ends its threads, and [`Client::close`] does so for all of them.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    broker: Broker,
    limit: usize,
    reply_partition: i32,
    /// The offset there from which on answers have not been read yet.
    unread: Arc<AtomicI64>,
    table: Arc<Table>,
    window: Window,
    /// Taken out when it is dropped or closed.
    sending: Mutex<Option<Arc<Sending>>>,
    replies: Mutex<Option<Thread>>,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// The answer, in a time that runs already: the wait for a place is part of it.
    AnswerFromNow,
    /// The answer, in a time that begins with the place.
    Answer,
    /// The broker's acknowledgement.
    Acknowledgement,
}

impl Client {
    /// Connects, and learns the position of the reply partition before any request can be sent.
    ///
    /// # Errors
    /// [`ClientError`] where no broker is found, where it can't be reached or lacks the topics within
    /// [`ClientConfig::connect_timeout`], or where the settings can't be used.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        not_zero("timeout", config.timeout)?;
        let deadline = config.connect_deadline()?;
        let cluster = config.cluster(deadline).await?;
        reading::blocking(move || Inner::start(config, &cluster, deadline))
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

    /// The largest record that is sent, in bytes.
    #[must_use]
    pub fn max_record_bytes(&self) -> usize {
        self.0.limit
    }

    pub(crate) fn max_in_flight(&self) -> usize {
        self.0.config.max_in_flight
    }

    /// Sends one image and waits for the answer, labels or a worker's error.
    ///
    /// # Errors
    /// [`ClientError`] where there is no answer within the time-out, which includes waiting for a place among the open
    /// requests, or where the request is too large or can't be delivered.
    pub async fn predict(&self, image: Vec<u8>, options: Options) -> Result<Response, ClientError> {
        self.open(image, &options, For::AnswerFromNow).await?.answer().await
    }

    /// Sends one image and returns when the broker has it; the answer comes on the results topic, where
    /// [`crate::Listener`] sees it. The request has no deadline unless [`Options::deadline`] gives it one, and the
    /// acknowledgement is waited for as long as librdkafka tries (`message.timeout.ms`) unless [`Options::timeout`] says
    /// less. On the embedded broker its bytes count as open until it is answered.
    ///
    /// # Errors
    /// As [`Self::predict`], for the acknowledgement.
    pub async fn send(&self, image: Vec<u8>, options: Options) -> Result<String, ClientError> {
        let mut ticket = self.enqueue(image, &options).await?;
        ticket.acknowledged().await?;
        let id = ticket.id().to_owned();
        if self.0.broker.embedded {
            tokio::spawn(ticket.answer_while_others_come(self.0.config.timeout));
        }
        Ok(id)
    }

    /// As [`Self::send`]. What it returns finds the answer on the results topic, also for another process and after this one
    /// has ended: [`crate::Results`].
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_for_later(&self, image: Vec<u8>, options: Options) -> Result<Claim, ClientError> {
        // Looked at before it is sent: its answer can't lie before that.
        let (partition, offset) = (self.0.reply_partition, self.0.unread.load(Ordering::Acquire));
        let request_id = self.send(image, options).await?;
        Ok(Claim { request_id, partition, offset })
    }

    /// Whether a new connection would go to the same broker. It always would where one is named; a worker's embedded one goes with
    /// its worker, and another's may have come.
    #[must_use]
    pub fn is_current(&self) -> bool {
        if self.0.config.kafka.bootstrap_servers.is_some() {
            return true;
        }
        matches!(kafka::locate(None), Ok(Some(found)) if found.bootstrap_servers == self.0.broker.bootstrap_servers)
    }

    /// As [`Self::send`], without waiting for the acknowledgement, which the ticket tells.
    ///
    /// # Errors
    /// [`ClientError`] where the request is too large or librdkafka does not take it.
    pub async fn enqueue(&self, image: Vec<u8>, options: &Options) -> Result<Ticket, ClientError> {
        self.open(image, options, For::Acknowledgement).await
    }

    /// Sends one image as soon as there is a place for it; its time begins then. There are as many places as requests are
    /// answered in good time, so that a slow worker lets none expire that it never could have reached.
    ///
    /// # Errors
    /// [`ClientError::Stalled`] where nothing was answered for a whole time-out: then one request at a time is tried, and
    /// the others are refused until one is answered. Others where the request is too large or librdkafka does not take it.
    pub async fn submit(&self, image: Vec<u8>, options: &Options) -> Result<Ticket, ClientError> {
        self.open(image, options, For::Answer).await
    }

    /// Ends the connection, for all clones: waits until the broker has what was sent, at most for
    /// [`ClientConfig::timeout`], tells whoever still waits for an answer that none comes, and ends the threads.
    ///
    /// # Errors
    /// [`ClientError`] where the broker does not take what was sent in that time.
    pub async fn close(&self) -> Result<(), ClientError> {
        let sending = self.0.sending().take();
        let replies = self.0.replies.lock().unwrap_or_else(PoisonError::into_inner).take();
        let timeout = self.0.config.timeout;
        let flushed = match sending {
            Some(sending) => reading::blocking(move || sending.flush(timeout)).await,
            None => Ok(()),
        };
        self.0.table.close();
        if let Some(replies) = replies {
            replies.close().await?;
        }
        flushed
    }

    async fn open(&self, image: Vec<u8>, options: &Options, purpose: For) -> Result<Ticket, ClientError> {
        let called_at = Instant::now();
        let time = not_zero("timeout", options.timeout.unwrap_or(self.0.config.timeout))?;
        if let Some(deadline) = options.deadline {
            not_zero("deadline", deadline)?;
        }
        let sending = self.0.sending().clone().ok_or(ClientError::Closed)?;
        let mut request = request_for(image, options);
        let bytes = encoded_size(&request, options);
        if bytes > self.0.limit {
            let (bytes, embedded) = (bytes as u64, self.0.broker.embedded);
            return Err(ClientError::TooLarge { bytes, limit: self.0.limit, embedded });
        }
        let late = |id: &str| ClientError::Timeout { id: id.to_owned(), waited: time, acknowledged: false };
        // A time past the clock's end is no limit.
        let (place, ends) = match purpose {
            For::AnswerFromNow => {
                let ends = called_at.checked_add(time);
                let entering = self.0.window.enter(bytes);
                let place = within(ends, entering).await.ok_or_else(|| late(&request.id))??;
                (place, ends)
            }
            For::Answer => {
                let place = self.0.window.enter_paced(bytes, time).await?;
                (place, Instant::now().checked_add(time))
            }
            For::Acknowledgement => {
                let place = self.0.window.enter(bytes).await?;
                (place, options.timeout.and_then(|time| Instant::now().checked_add(time)))
            }
        };
        let wanted = purpose != For::Acknowledgement;
        let left = ends.filter(|_| wanted).map(|ends| ends.saturating_duration_since(Instant::now()));
        // Both: an older worker knows only the deadline, by the clock of this machine.
        let allowed = options.deadline.or(left);
        request.deadline = allowed.and_then(from_now);
        request.timeout_ms = request.deadline.and(allowed).and_then(|time| time.as_millis().try_into().ok());
        let outgoing = self.0.record(&request, options);
        let waiting = self.0.table.insert(&request.id, wanted)?;
        let ticket = Ticket::new(request.id, Arc::clone(&self.0.table), waiting, time, ends, place);
        let queued = sending.send(outgoing);
        within(ends, queued).await.ok_or_else(|| late(ticket.id()))??;
        Ok(ticket)
    }
}

/// That long from now; `None` past the calendar's end.
fn from_now(time: Duration) -> Option<Timestamp> {
    Timestamp::now().checked_add(SignedDuration::try_from(time).ok()?).ok()
}

fn request_for(image: Vec<u8>, options: &Options) -> Request<'static> {
    Request {
        model: options.model.clone(),
        model_version: options.version,
        top_k: options.top_k,
        priority: options.priority,
        ..Request::new(image)
    }
}

/// The record's size before it is encoded, headers and key included, not less than it will be.
fn encoded_size(request: &Request<'_>, options: &Options) -> usize {
    let image = request.image.len();
    let value =
        if options.format == wire::Encoding::Json { image.div_ceil(3) * 4 + 512 } else { image + 192 };
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let trace = text(&options.trace.parent) + text(&options.trace.state) + text(&options.trace.baggage);
    // The model's name and the topic's stand in the headers, the name in the value too.
    value + 2 * text(&options.model) + text(&options.key) + trace + 768
}

impl Inner {
    fn start(
        config: ClientConfig,
        cluster: &Cluster,
        deadline: std::time::Instant,
    ) -> Result<Self, ClientError> {
        let reader = Reader::open(&config.kafka, cluster, &[])?;
        let topics = &config.topics;
        let some_led = |partitions: &[Partition]| partitions.iter().any(|p| p.led);
        let requests = reader.partitions(&topics.requests, deadline, some_led)?;
        let leaderless = reading::without_leader(&requests);
        if !leaderless.is_empty() {
            tracing::warn!(
                topic = topics.requests,
                partitions = ?leaderless,
                "no broker leads these partitions now: requests whose key falls there wait until one does"
            );
        }
        let partitions = reader.partitions(&topics.results, deadline, some_led)?;
        let led: Vec<_> = partitions.iter().filter(|p| p.led).map(|p| p.id).collect();
        let reply_partition = pick(&led, &config.reply_partition).ok_or(ClientError::Closed)?;
        let (_, end) = reader.bounds(&topics.results, reply_partition, deadline)?;
        reader.assign(&topics.results, &[(reply_partition, end)])?;
        let broker = cluster.broker.clone();
        let bytes = if broker.embedded {
            config.max_in_flight_bytes.min(kafka::embedded::WINDOW_BYTES)
        } else {
            config.max_in_flight_bytes
        };
        let table = Arc::new(Table::default());
        let sending = Sending::start(&config.kafka, &broker, &topics.requests, Arc::clone(&table))?;
        let unread = Arc::new(AtomicI64::new(end));
        let replies =
            replies::start(reader, topics.results.clone(), Arc::clone(&table), Arc::clone(&unread))?;
        Ok(Self {
            limit: config.kafka.max_record_bytes(&broker),
            window: Window::new(config.max_in_flight, bytes),
            sending: Mutex::new(Some(Arc::new(sending))),
            replies: Mutex::new(Some(replies)),
            table,
            reply_partition,
            unread,
            broker,
            config,
        })
    }

    fn sending(&self) -> std::sync::MutexGuard<'_, Option<Arc<Sending>>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, request: &Request<'_>, options: &Options) -> Outgoing {
        let reply_to = ReplyTo {
            topic: Some(self.config.topics.results.clone()),
            partition: Some(self.reply_partition),
            correlation_id: Some(request.id.clone().into_bytes()),
        };
        let headers =
            request.headers(options.format, &self.config.source, Timestamp::now(), &reply_to, &options.trace);
        Outgoing {
            id: request.id.clone(),
            key: options.key.clone().unwrap_or_else(|| request.id.clone()),
            headers,
            value: Some(request.encode(options.format)),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Tickets may outlive it.
        self.table.close();
        // What is still queued is given a moment, but not on a thread of the caller's runtime.
        if let Some(sending) = self.sending().take() {
            std::thread::spawn(move || drop(sending));
        }
    }
}

/// One of them. Which one goes with a name changes only where that one is not among them: each partition has a number for
/// the name, and the one with the largest is taken.
fn pick(partitions: &[i32], which: &ReplyPartition) -> Option<i32> {
    let name = match which {
        ReplyPartition::Any => wire::new_request_id(),
        ReplyPartition::OfName(name) => name.clone(),
    };
    partitions.iter().copied().max_by_key(|partition| (spread(&name, *partition), *partition))
}

/// FNV-1a, and a last mix so that partitions beside each other get numbers far apart. Restarts must agree, so it can't be
/// the standard library's.
fn spread(name: &str, partition: i32) -> u64 {
    let bytes = name.bytes().chain(partition.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests;
