//! From an outcome to records that the broker has acknowledged: the reply, and the dead letter where the request can never
//! succeed. A ticket is finished only then. What can't be delivered as asked is delivered in a lesser way, and never
//! dropped in silence:
//!
//! - no such reply topic or partition: the reply goes to the configured results topic;
//! - a reply too large for its topic: an error that says so goes in its place, at last without key and echoed headers;
//! - no broker, or no results topic: tried again until there is one, while back-pressure stops the consume room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kafka::Topics;
use tokio::sync::mpsc;
use wire::dead_letter::DeadLetter;
use wire::{ErrorCode, ErrorReply, Response, Success};

use crate::health::Pulse;
use crate::metrics::Metrics;
use crate::micros::micros;
use crate::outbox::{Event, Fault, Message, Outbox};
use crate::parcels::{Answer, Asker, Failure, Original};

/// How long a full producer queue is given.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);
/// How long until a record that could not be delivered is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The producer can't be used any more: the worker ends, and Kafka gives its records to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the producer failed for good: {0}")]
pub struct Fatal(String);

/// The room.
pub struct Respond {
    outbox: Arc<dyn Outbox>,
    topics: Topics,
    worker: String,
    metrics: Arc<Metrics>,
    answers: HashMap<usize, Pending>,
    deliveries: HashMap<usize, Delivery>,
    next: usize,
    again: mpsc::UnboundedSender<Event>,
}

/// An outcome whose records are under way.
struct Pending {
    asker: Asker,
    response: Response,
    left: usize,
}

/// One record under way.
struct Delivery {
    answer: usize,
    route: Route,
    message: Message,
}

/// How a record is sent; a reply falls from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// The reply, where it was asked for.
    Asked,
    /// In its place an error that says that it is too large.
    Short,
    /// The reply, to the configured topic.
    Results,
    /// The error, to the configured topic, without anything that the request chose the size of.
    Bare,
    /// The dead letter.
    DeadLetter,
}

/// What to do about a record that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Again,
    By(Route),
    GiveUp,
    Drop,
    End,
}

/// The rule behind the fallbacks.
fn next(route: Route, elsewhere: bool, fault: &Fault) -> Next {
    match (fault, route) {
        (Fault::Fatal(_), _) => Next::End,
        (Fault::Purged, _) => Next::Drop,
        (Fault::Full | Fault::Passing(_), _) => Next::Again,
        (Fault::NoSuchPlace(_), Route::Asked | Route::Short) if elsewhere => Next::By(Route::Results),
        (Fault::NoSuchPlace(_), _) => Next::Again,
        (Fault::TooLarge, Route::Asked) => Next::By(Route::Short),
        (Fault::TooLarge, Route::Short | Route::Results) => Next::By(Route::Bare),
        (Fault::TooLarge, Route::Bare | Route::DeadLetter) => Next::GiveUp,
    }
}

impl Respond {
    /// `events` is the sending end of what [`run`] reads.
    #[must_use]
    pub fn new(
        outbox: Arc<dyn Outbox>,
        topics: Topics,
        worker: String,
        metrics: Arc<Metrics>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (answers, deliveries) = (HashMap::new(), HashMap::new());
        // 0 is for records that nobody waits for.
        Self { outbox, topics, worker, metrics, answers, deliveries, next: 1, again: events }
    }

    /// Whether all that was begun is delivered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty()
    }

    /// Sends what an outcome asks for.
    ///
    /// # Errors
    /// [`Fatal`] where nothing can be sent any more.
    pub async fn begin(&mut self, answer: Answer) -> Result<(), Fatal> {
        let Answer { asker, result, mut timings } = answer;
        if !asker.ticket.is_live() {
            asker.span.in_scope(|| tracing::debug!("the partition went to another worker, which answers"));
            return Ok(());
        }
        timings.total = micros(asker.arrived.elapsed());
        self.metrics.answered(&result, &timings);
        let (outcome, dead) = match result {
            Ok(labels) => {
                let id = labels.model.id.clone();
                asker.span.in_scope(|| {
                    tracing::debug!(model = ?labels.model, batch_size = labels.batch_size, total_us = timings.total, "answered");
                });
                let success =
                    Success { model: id, predictions: labels.predictions, batch_size: labels.batch_size };
                (wire::Outcome::Success(success), None)
            }
            Err(failure) => {
                log(&asker, &failure);
                let Failure { reply, stage, dead, .. } = failure;
                let dead = dead.map(|original| self.dead_letter(original, stage, &reply));
                (wire::Outcome::Error(reply), dead)
            }
        };
        let response =
            Response { request_id: asker.id.clone(), outcome, timings, worker: self.worker.clone() };
        let reply = self.reply(&asker, &response, Route::Asked);
        let answer = self.id();
        let left = 1 + usize::from(dead.is_some());
        self.answers.insert(answer, Pending { asker, response, left });
        if let Some(message) = dead {
            self.metrics.dead_letters.inc();
            self.send(Delivery { answer, route: Route::DeadLetter, message }).await?;
        }
        self.send(Delivery { answer, route: Route::Asked, message: reply }).await
    }

    /// What the producer says about a record, or that it is time to try again.
    ///
    /// # Errors
    /// [`Fatal`] where nothing can be sent any more.
    pub async fn event(&mut self, event: Event) -> Result<(), Fatal> {
        let Some(delivery) = self.deliveries.remove(&event.id) else { return Ok(()) };
        match event.result {
            Ok(()) => {
                self.done(delivery.answer);
                Ok(())
            }
            Err(Fault::Full) => self.send(delivery).await,
            Err(fault) => self.fault(delivery, &fault).await,
        }
    }

    async fn send(&mut self, delivery: Delivery) -> Result<(), Fatal> {
        let id = self.id();
        let sent = loop {
            match self.outbox.send(&delivery.message, id) {
                Err(Fault::Full) => tokio::time::sleep(QUEUE_FULL_PAUSE).await,
                sent => break sent,
            }
        };
        match sent {
            Ok(()) => {
                self.deliveries.insert(id, delivery);
                Ok(())
            }
            Err(fault) => Box::pin(self.fault(delivery, &fault)).await,
        }
    }

    async fn fault(&mut self, delivery: Delivery, fault: &Fault) -> Result<(), Fatal> {
        let Delivery { answer, route, message } = delivery;
        let Some(Pending { asker, response, .. }) = self.answers.get(&answer) else { return Ok(()) };
        let elsewhere = message.topic != self.topics.results || message.partition.is_some();
        let next = next(route, elsewhere, fault);
        let topic = &message.topic;
        asker.span.in_scope(|| match next {
            Next::Again => tracing::warn!(topic, %fault, "not delivered; it is tried again"),
            Next::By(by) => tracing::warn!(topic, %fault, ?by, "not delivered; another way is tried"),
            Next::GiveUp => {
                tracing::error!(topic, %fault, ?route, "it can't be delivered in any way, and is given up")
            }
            Next::Drop => tracing::debug!(topic, "not delivered before the end"),
            Next::End => tracing::error!(topic, %fault, "the producer can't go on"),
        });
        match next {
            Next::Again => {
                let id = self.id();
                self.deliveries.insert(id, Delivery { answer, route, message });
                let again = self.again.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    // Nobody listens any more only where the room has ended.
                    drop(again.send(Event { id, result: Err(Fault::Full) }));
                });
                Ok(())
            }
            Next::By(route) => {
                let message = self.reply(asker, response, route);
                self.metrics.rerouted.inc();
                Box::pin(self.send(Delivery { answer, route, message })).await
            }
            Next::GiveUp => {
                self.metrics.undeliverable.inc();
                self.done(answer);
                Ok(())
            }
            Next::Drop => {
                self.answers.remove(&answer);
                Ok(())
            }
            Next::End => Err(Fatal(fault.to_string())),
        }
    }

    /// One record of the answer is delivered.
    fn done(&mut self, answer: usize) {
        let Some(entry) = self.answers.get_mut(&answer) else { return };
        entry.left -= 1;
        if entry.left == 0
            && let Some(answer) = self.answers.remove(&answer)
        {
            answer.asker.ticket.finish();
        }
    }

    fn reply(&self, asker: &Asker, response: &Response, route: Route) -> Message {
        let asked = matches!(route, Route::Asked | Route::Short);
        let short = matches!(route, Route::Short | Route::Bare).then(|| too_large(response));
        let response = short.as_ref().unwrap_or(response);
        let (reply_to, trace, key) = match route {
            Route::Bare => (wire::ReplyTo::default(), wire::TraceContext::default(), None),
            Route::Short => (asker.reply_to.clone(), wire::TraceContext::default(), asker.key.clone()),
            _ => (asker.reply_to.clone(), asker.trace.clone(), asker.key.clone()),
        };
        // A reply among the requests would be read as one.
        let topic = reply_to.topic.as_ref().filter(|topic| asked && **topic != self.topics.requests);
        let partition = reply_to.partition.filter(|_| asked && (topic.is_some() || reply_to.topic.is_none()));
        Message {
            topic: topic.unwrap_or(&self.topics.results).clone(),
            partition,
            key: Some(key.unwrap_or_else(|| response.request_id.clone().into_bytes())),
            value: Some(response.encode(asker.encoding)),
            headers: response.headers(asker.encoding, Timestamp::now(), &reply_to, &trace),
        }
    }

    fn dead_letter(&self, original: Original, stage: &str, reply: &ErrorReply) -> Message {
        let Original { topic, partition, offset, key, value, mut headers, .. } = original;
        let letter = DeadLetter {
            topic: &topic,
            partition,
            offset,
            stage,
            code: reply.code.name(),
            message: &reply.message,
        };
        letter.write(&mut headers);
        Message { topic: self.topics.dead_letter.clone(), partition: None, key, value, headers }
    }

    fn id(&mut self) -> usize {
        self.next += 1;
        self.next
    }
}

fn too_large(response: &Response) -> Response {
    let message =
        "the reply is larger than its topic takes: ask for fewer predictions, or send shorter headers";
    let reply = ErrorReply::new(ErrorCode::OutOfRange, message);
    Response { outcome: wire::Outcome::Error(reply), ..response.clone() }
}

fn log(asker: &Asker, failure: &Failure) {
    let Failure { reply, stage, dead, .. } = failure;
    let dead_letter = dead.is_some();
    asker.span.in_scope(|| {
        if reply.code == ErrorCode::Internal {
            tracing::error!(code = %reply.code, stage, dead_letter, "{}", reply.message);
        } else {
            tracing::info!(code = %reply.code, stage, dead_letter, "{}", reply.message);
        }
    });
}

/// The room, until its input is closed and all is delivered.
///
/// # Errors
/// [`Fatal`] where nothing can be sent any more.
pub async fn run(
    mut respond: Respond,
    mut outcomes: mpsc::Receiver<Answer>,
    mut events: mpsc::UnboundedReceiver<Event>,
    pulse: Pulse,
) -> Result<(), Fatal> {
    let mut open = true;
    while open || !respond.is_idle() {
        pulse.rest();
        tokio::select! {
            biased;
            // The room holds a sending end, so that there is always another event to wait for.
            Some(event) = events.recv() => {
                pulse.beat();
                respond.event(event).await?;
            }
            outcome = outcomes.recv(), if open => match outcome {
                Some(outcome) => {
                    pulse.beat();
                    respond.begin(outcome).await?;
                }
                None => open = false,
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Delivery as Commit;
    use crate::doubles;
    use crate::health::Health;
    use crate::parcels::{Labels, Ticket};
    use crate::rooms::commit::Book;
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use wire::{Headers, Prediction, header};

    /// Takes what it is given, or refuses with the next of its faults.
    #[derive(Default)]
    struct Broker {
        sent: Mutex<Vec<(usize, Message)>>,
        refuse: Mutex<VecDeque<Fault>>,
    }

    impl Outbox for Broker {
        fn send(&self, message: &Message, id: usize) -> Result<(), Fault> {
            if let Some(fault) = self.refuse.lock().unwrap().pop_front() {
                return Err(fault);
            }
            self.sent.lock().unwrap().push((id, message.clone()));
            Ok(())
        }

        fn flush(&self, _: Duration) {}
    }

    struct Bench {
        room: Respond,
        broker: Arc<Broker>,
        book: Arc<Book>,
        events: mpsc::UnboundedReceiver<Event>,
    }

    impl Bench {
        fn new() -> Self {
            let broker = Arc::new(Broker::default());
            let (to_events, events) = mpsc::unbounded_channel();
            let outbox = Arc::clone(&broker) as Arc<dyn Outbox>;
            let metrics = Arc::new(Metrics::default());
            let room = Respond::new(outbox, Topics::default(), "w1".into(), metrics, to_events);
            Self { room, broker, book: Book::new(Commit::AtLeastOnce), events }
        }

        fn ticket(&self) -> Ticket {
            doubles::ticket_of(&self.book, 0, 7)
        }

        fn success(&self) -> Answer {
            let prediction = Prediction { label: "macaw".into(), index: Some(88), probability: 0.9 };
            let model = Arc::new(doubles::served("bird", 1));
            Answer {
                asker: doubles::asker("r1", self.ticket()),
                result: Ok(Labels { model, predictions: vec![prediction], batch_size: 3 }),
                timings: wire::Timings::default(),
            }
        }

        fn dead(&self) -> Answer {
            let mut headers = Headers::new();
            headers.push("own", "kept");
            let original = Original {
                topic: Arc::from("predict.requests"),
                partition: 0,
                offset: 7,
                key: Some(b"k".to_vec()),
                value: Some(b"no image".to_vec()),
                headers,
                timestamp: None,
            };
            let reply = ErrorReply::new(ErrorCode::InvalidArgument, "no image");
            let failure = Failure { model: None, reply, stage: "decode", dead: Some(original) };
            Answer { result: Err(failure), ..self.success() }
        }

        /// Takes what was sent out of the broker.
        fn sent(&self) -> Vec<(usize, Message)> {
            std::mem::take(&mut *self.broker.sent.lock().unwrap())
        }

        fn only(&self) -> (usize, Message) {
            let mut sent = self.sent();
            assert_eq!(sent.len(), 1, "{sent:?}");
            sent.remove(0)
        }

        async fn acknowledge(&mut self, id: usize) {
            self.room.event(Event { id, result: Ok(()) }).await.unwrap();
        }

        async fn fails(&mut self, id: usize, fault: Fault) {
            self.room.event(Event { id, result: Err(fault) }).await.unwrap();
        }

        fn is_committed(&self) -> bool {
            self.book.storable() == [(0, 7)]
        }
    }

    fn response(message: &Message) -> Response {
        Response::decode(&message.headers, message.value.as_deref().unwrap()).unwrap()
    }

    fn error_code(message: &Message) -> Option<ErrorCode> {
        match response(message).outcome {
            wire::Outcome::Error(error) => Some(error.code),
            wire::Outcome::Success(_) => None,
        }
    }

    fn nowhere() -> Fault {
        Fault::NoSuchPlace("unknown".into())
    }

    #[tokio::test]
    async fn a_ticket_is_finished_when_the_broker_has_the_reply_and_not_before() {
        let mut bench = Bench::new();
        bench.room.begin(bench.success()).await.unwrap();
        let (id, reply) = bench.only();
        assert_eq!(reply.topic, "predict.results");
        assert_eq!(reply.key.as_deref(), Some(&b"r1"[..]));
        let response = response(&reply);
        assert_eq!((response.request_id.as_str(), response.worker.as_str()), ("r1", "w1"));
        assert!(!bench.is_committed() && !bench.room.is_idle());
        bench.acknowledge(id).await;
        assert!(bench.is_committed() && bench.room.is_idle());
    }

    #[tokio::test]
    async fn the_reply_goes_where_it_was_asked_for_with_what_was_to_be_echoed() {
        let mut bench = Bench::new();
        let mut outcome = bench.success();
        outcome.asker.reply_to = wire::ReplyTo {
            topic: Some("answers".into()),
            partition: Some(3),
            correlation_id: Some(vec![0, 255]),
        };
        outcome.asker.trace.parent = Some("00-a-b-01".into());
        outcome.asker.key = Some(b"k".to_vec());
        bench.room.begin(outcome).await.unwrap();
        let (_, reply) = bench.only();
        assert_eq!((reply.topic.as_str(), reply.partition), ("answers", Some(3)));
        assert_eq!(reply.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(reply.headers.get(header::CORRELATION_ID), Some(&[0, 255][..]));
        assert_eq!(reply.headers.get(header::TRACEPARENT), Some(&b"00-a-b-01"[..]));
    }

    #[tokio::test]
    async fn a_dead_letter_is_the_record_as_it_came_and_the_ticket_waits_for_both() {
        let mut bench = Bench::new();
        bench.room.begin(bench.dead()).await.unwrap();
        let mut sent = bench.sent();
        let (letter_id, letter) = sent.remove(0);
        let (reply_id, reply) = sent.remove(0);
        assert_eq!(letter.topic, "predict.dead-letter");
        assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(letter.value.as_deref(), Some(&b"no image"[..]));
        assert_eq!(letter.headers.get("own"), Some(&b"kept"[..]));
        assert_eq!(letter.headers.get("__connect.errors.offset"), Some(&b"7"[..]));
        assert_eq!(error_code(&reply), Some(ErrorCode::InvalidArgument));
        bench.acknowledge(reply_id).await;
        assert!(!bench.is_committed());
        bench.acknowledge(letter_id).await;
        assert!(bench.is_committed());
    }

    #[tokio::test]
    async fn a_reply_topic_that_is_not_there_gives_way_to_the_results_topic() {
        let mut bench = Bench::new();
        let mut outcome = bench.success();
        outcome.asker.reply_to.topic = Some("no-such".into());
        bench.room.begin(outcome).await.unwrap();
        let (id, _) = bench.only();
        bench.fails(id, nowhere()).await;
        let (id, reply) = bench.only();
        assert_eq!((reply.topic.as_str(), reply.partition), ("predict.results", None));
        assert_eq!(error_code(&reply), None, "the labels all the same");
        bench.acknowledge(id).await;
        assert!(bench.is_committed());
    }

    #[tokio::test]
    async fn a_reply_that_is_refused_at_once_takes_the_same_way() {
        let mut bench = Bench::new();
        bench.broker.refuse.lock().unwrap().push_back(nowhere());
        let mut outcome = bench.success();
        outcome.asker.reply_to.partition = Some(99);
        bench.room.begin(outcome).await.unwrap();
        let (_, reply) = bench.only();
        assert_eq!((reply.topic.as_str(), reply.partition), ("predict.results", None));
    }

    #[tokio::test]
    async fn a_reply_among_the_requests_would_be_a_request() {
        let mut bench = Bench::new();
        let mut outcome = bench.success();
        outcome.asker.reply_to = wire::ReplyTo {
            topic: Some("predict.requests".into()),
            partition: Some(1),
            correlation_id: None,
        };
        bench.room.begin(outcome).await.unwrap();
        let (_, reply) = bench.only();
        assert_eq!((reply.topic.as_str(), reply.partition), ("predict.results", None));
    }

    #[tokio::test]
    async fn a_reply_too_large_gives_way_to_an_error_and_at_last_to_a_bare_one() {
        let mut bench = Bench::new();
        let mut outcome = bench.success();
        outcome.asker.reply_to.correlation_id = Some(vec![1; 1000]);
        outcome.asker.reply_to.topic = Some("answers".into());
        bench.room.begin(outcome).await.unwrap();
        let (id, _) = bench.only();
        bench.fails(id, Fault::TooLarge).await;
        let (id, short) = bench.only();
        assert_eq!((short.topic.as_str(), error_code(&short)), ("answers", Some(ErrorCode::OutOfRange)));
        assert!(short.headers.get(header::CORRELATION_ID).is_some());
        bench.fails(id, Fault::TooLarge).await;
        let (id, bare) = bench.only();
        assert_eq!(bare.topic, "predict.results");
        assert!(bare.headers.get(header::CORRELATION_ID).is_none());
        bench.acknowledge(id).await;
        assert!(bench.is_committed());
    }

    #[tokio::test]
    async fn what_no_topic_takes_is_given_up_aloud_and_holds_no_partition_up() {
        let mut bench = Bench::new();
        bench.room.begin(bench.dead()).await.unwrap();
        let sent = bench.sent();
        bench.fails(sent[0].0, Fault::TooLarge).await;
        assert_eq!(bench.room.metrics.undeliverable.get(), 1);
        bench.acknowledge(sent[1].0).await;
        assert!(bench.is_committed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_in_passing_is_tried_again_until_it_is_delivered() {
        let mut bench = Bench::new();
        bench.room.begin(bench.success()).await.unwrap();
        for _ in 0..3 {
            let (id, _) = bench.only();
            bench.fails(id, Fault::Passing("timed out".into())).await;
            assert_eq!(bench.sent(), [], "not before a pause");
            let again = bench.events.recv().await.unwrap();
            bench.room.event(again).await.unwrap();
        }
        let (id, _) = bench.only();
        assert!(!bench.is_committed());
        bench.acknowledge(id).await;
        assert!(bench.is_committed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_producer_keeps_the_record_waiting() {
        let mut bench = Bench::new();
        bench.broker.refuse.lock().unwrap().extend([Fault::Full, Fault::Full]);
        bench.room.begin(bench.success()).await.unwrap();
        let (id, _) = bench.only();
        bench.acknowledge(id).await;
        assert!(bench.is_committed());
    }

    #[tokio::test]
    async fn a_producer_that_failed_for_good_ends_the_room_and_finishes_nothing() {
        let mut bench = Bench::new();
        bench.room.begin(bench.success()).await.unwrap();
        let (id, _) = bench.only();
        let fatal = Event { id, result: Err(Fault::Fatal("fenced".into())) };
        assert!(bench.room.event(fatal).await.unwrap_err().to_string().contains("fenced"));
        assert!(!bench.is_committed());
    }

    #[tokio::test]
    async fn what_another_worker_owns_now_is_not_answered_here() {
        let mut bench = Bench::new();
        let outcome = bench.success();
        bench.book.forget([0]);
        bench.room.begin(outcome).await.unwrap();
        assert_eq!(bench.sent(), []);
    }

    #[tokio::test]
    async fn the_room_ends_behind_the_last_acknowledgement() {
        let bench = Bench::new();
        let (to_room, outcomes) = mpsc::channel(1);
        to_room.send(bench.success()).await.unwrap();
        drop(to_room);
        let to_events = bench.room.again.clone();
        let room = tokio::spawn(run(bench.room, outcomes, bench.events, Health::default().pulse("respond")));
        while bench.broker.sent.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!room.is_finished());
        let id = bench.broker.sent.lock().unwrap()[0].0;
        to_events.send(Event { id, result: Ok(()) }).unwrap();
        room.await.unwrap().unwrap();
    }
}
