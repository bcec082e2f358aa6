//! The room against a broker that takes what it is given, or refuses it with the next of its faults.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use wire::{ErrorReply, Headers, Prediction, Response, header};

use super::*;
use crate::book::Book;
use crate::doubles;
use crate::group::Delivery as Commit;
use crate::outbox::{Message, PATIENCE, Way};
use crate::parcels::{Labels, Ticket};

/// A record that the broker was given, and the parcel that travels with it.
#[derive(Debug)]
struct Sent {
    way: Way,
    message: Message<'static>,
    parcel: Box<Parcel>,
}

#[derive(Default)]
struct Broker {
    sent: Mutex<VecDeque<Sent>>,
    refuse: Mutex<VecDeque<Code>>,
}

impl Outbox<Parcel> for Broker {
    fn send(&self, way: Way, message: Message<'_>, parcel: Box<Parcel>) -> Result<(), (Box<Parcel>, Fault)> {
        if let Some(code) = self.refuse.lock().unwrap().pop_front() {
            return Err((parcel, fault(code)));
        }
        self.sent.lock().unwrap().push_back(Sent { way, message: message.into_owned(), parcel });
        Ok(())
    }
}

fn fault(code: Code) -> Fault {
    Fault::from(KafkaError::MessageProduction(code))
}

struct Fixture {
    room: Respond,
    broker: Arc<Broker>,
    book: Arc<Book>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    offset: i64,
}

impl Fixture {
    fn new() -> Self {
        let broker = Arc::new(Broker::default());
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
        health.set_warm();
        health.set_connected(true);
        health.set_joined(true);
        let setup = Setup { topics: Topics::default(), reply_allow: None, worker: "w1".into(), max_named: 8 };
        let outbox = Arc::clone(&broker) as Arc<dyn Outbox<Parcel>>;
        let room = Respond::new(outbox, setup, Arc::clone(&metrics), Arc::clone(&health));
        Self { room, broker, book: Book::new(Commit::AtLeastOnce), health, metrics, offset: 6 }
    }

    fn ticket(&mut self) -> Ticket {
        self.offset += 1;
        doubles::ticket_of(&self.book, 0, self.offset)
    }

    fn success(&mut self) -> Answer {
        let prediction = Prediction { label: "macaw".into(), index: Some(88), probability: 0.9 };
        let model = Arc::new(doubles::served("bird", 1));
        Answer {
            asker: doubles::asker("r1", self.ticket()),
            result: Ok(Labels { model, predictions: vec![prediction], batch_size: 3 }),
            timings: wire::Timings::default(),
        }
    }

    fn success_to(&mut self, topic: &str) -> Answer {
        let mut answer = self.success();
        answer.asker.reply_to.topic = Some(topic.to_owned());
        answer
    }

    fn dead(&mut self) -> Answer {
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

    /// Begins with an answer: the one record that it makes.
    fn begin(&mut self, answer: Answer) -> Sent {
        self.room.begin(answer).unwrap();
        self.only()
    }

    /// The oldest record that the broker has not been asked about yet.
    fn next(&self) -> Sent {
        self.broker.sent.lock().unwrap().pop_front().expect("nothing was sent")
    }

    /// The only one.
    fn only(&self) -> Sent {
        let sent = self.next();
        assert!(self.is_quiet(), "more than one record was sent");
        sent
    }

    fn is_quiet(&self) -> bool {
        self.broker.sent.lock().unwrap().is_empty()
    }

    fn acknowledge(&mut self, sent: Sent) {
        self.room.delivered(Delivered { parcel: sent.parcel, result: Ok(()) }).unwrap();
    }

    fn fails(&mut self, sent: Sent, code: Code) {
        self.room.delivered(Delivered { parcel: sent.parcel, result: Err(fault(code)) }).unwrap();
    }

    /// Refused among others and then alone.
    fn refused(&mut self, sent: Sent, code: Code) {
        let place = (sent.message.topic.clone(), sent.message.value.clone());
        self.fails(sent, code);
        let alone = self.only();
        assert_eq!(alone.way, Way::Alone);
        assert_eq!((alone.message.topic.clone(), alone.message.value.clone()), place, "the same again");
        self.fails(alone, code);
    }

    /// Lets the time pass until something is due, and sends it.
    async fn retry(&mut self) {
        tokio::time::sleep_until(self.room.next_due().expect("nothing waits")).await;
        self.room.retry(Instant::now()).unwrap();
    }

    fn is_committed(&self) -> bool {
        self.book.due() == [(0, self.offset + 1)]
    }

    fn problems(&self) -> String {
        self.health.ready().err().map(|all| all.join("; ")).unwrap_or_default()
    }
}

fn response(sent: &Sent) -> Response {
    Response::decode(&sent.message.headers, sent.message.value.as_deref().unwrap()).unwrap()
}

fn error_code(sent: &Sent) -> Option<ErrorCode> {
    match response(sent).outcome {
        wire::Outcome::Error(error) => Some(error.code),
        wire::Outcome::Success(_) => None,
    }
}

fn place(sent: &Sent) -> (&str, Option<i32>) {
    (&sent.message.topic, sent.message.partition)
}

const RESULTS: (&str, Option<i32>) = ("predict.results", None);

#[tokio::test]
async fn a_ticket_is_finished_when_the_broker_has_the_reply_and_not_before() {
    let mut fixture = Fixture::new();
    let answer = fixture.success();
    let sent = fixture.begin(answer);
    assert_eq!((place(&sent), sent.way), (RESULTS, Way::Own));
    assert_eq!(sent.message.key.as_deref(), Some(&b"r1"[..]));
    let response = response(&sent);
    assert_eq!((response.request_id.as_str(), response.worker.as_str()), ("r1", "w1"));
    assert!(!fixture.is_committed() && !fixture.room.is_idle());
    assert!(!fixture.metrics.text().contains("nv_inference_request_success{"), "it is not delivered yet");
    fixture.acknowledge(sent);
    assert!(fixture.is_committed() && fixture.room.is_idle());
    assert!(fixture.metrics.text().contains("nv_inference_request_success{model=\"bird\",version=\"1\"} 1"));
}

#[tokio::test]
async fn the_reply_goes_where_it_was_asked_for_with_what_was_to_be_echoed() {
    let mut fixture = Fixture::new();
    let mut answer = fixture.success_to("answers");
    answer.asker.reply_to.partition = Some(3);
    answer.asker.reply_to.correlation_id = Some(vec![0, 255]);
    answer.asker.trace.parent = Some("00-a-b-01".into());
    answer.asker.key = Some(b"k".to_vec());
    let sent = fixture.begin(answer);
    assert_eq!((place(&sent), sent.way), (("answers", Some(3)), Way::Named));
    assert_eq!(sent.message.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(sent.message.headers.get(header::CORRELATION_ID), Some(&[0, 255][..]));
    assert_eq!(sent.message.headers.get(header::TRACEPARENT), Some(&b"00-a-b-01"[..]));
}

#[tokio::test]
async fn a_dead_letter_is_the_record_as_it_came_and_follows_its_reply() {
    let mut fixture = Fixture::new();
    let answer = fixture.dead();
    let reply = fixture.begin(answer);
    assert_eq!(error_code(&reply), Some(ErrorCode::InvalidArgument));
    fixture.acknowledge(reply);
    assert!(!fixture.is_committed());
    let letter = fixture.only();
    assert_eq!((place(&letter), letter.way), (("predict.dead-letter", None), Way::Own));
    assert_eq!(letter.message.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(letter.message.value.as_deref(), Some(&b"no image"[..]));
    assert_eq!(letter.message.headers.get("own"), Some(&b"kept"[..]));
    assert_eq!(letter.message.headers.get("__connect.errors.offset"), Some(&b"7"[..]));
    assert_eq!(fixture.metrics.dead_letters.get(), 0);
    fixture.acknowledge(letter);
    assert_eq!(fixture.metrics.dead_letters.get(), 1);
    assert!(fixture.is_committed() && fixture.room.is_idle());
}

#[tokio::test]
async fn a_reply_topic_that_is_not_there_gives_way_to_the_results_topic() {
    let mut fixture = Fixture::new();
    let answer = fixture.success_to("no-such");
    let sent = fixture.begin(answer);
    fixture.fails(sent, Code::UnknownTopicOrPartition);
    let sent = fixture.only();
    assert_eq!((place(&sent), sent.way), (RESULTS, Way::Own));
    assert_eq!(error_code(&sent), None, "the labels all the same");
    fixture.acknowledge(sent);
    assert!(fixture.is_committed());
    assert_eq!(fixture.metrics.rerouted.get(), 1);
}

#[tokio::test]
async fn a_reply_that_is_refused_at_once_takes_the_same_way() {
    let mut fixture = Fixture::new();
    fixture.broker.refuse.lock().unwrap().push_back(Code::UnknownPartition);
    let mut answer = fixture.success();
    answer.asker.reply_to.partition = Some(99);
    fixture.room.begin(answer).unwrap();
    assert_eq!(place(&fixture.only()), RESULTS);
}

#[tokio::test]
async fn a_reply_among_the_requests_would_be_a_request() {
    let mut fixture = Fixture::new();
    let answer = fixture.success_to("predict.requests");
    let sent = fixture.begin(answer);
    assert_eq!(place(&sent), RESULTS);
    fixture.acknowledge(sent);
    assert_eq!(fixture.metrics.rerouted.get(), 1);
}

#[tokio::test]
async fn a_reply_that_only_its_batch_was_too_large_for_is_delivered_as_it_is() {
    let mut fixture = Fixture::new();
    let answer = fixture.success();
    let sent = fixture.begin(answer);
    fixture.fails(sent, Code::MessageSizeTooLarge);
    let alone = fixture.only();
    assert_eq!((place(&alone), alone.way, error_code(&alone)), (RESULTS, Way::Alone, None));
    fixture.acknowledge(alone);
    assert!(fixture.is_committed());
    assert_eq!(fixture.metrics.rerouted.get(), 0);
}

#[tokio::test]
async fn a_reply_too_large_gives_way_to_an_error_and_at_last_to_a_bare_one() {
    let mut fixture = Fixture::new();
    let mut answer = fixture.success_to("answers");
    answer.asker.reply_to.correlation_id = Some(vec![1; 1000]);
    let sent = fixture.begin(answer);
    fixture.refused(sent, Code::MessageSizeTooLarge);
    let short = fixture.only();
    assert_eq!((place(&short), short.way), (("answers", None), Way::Alone));
    assert_eq!(error_code(&short), Some(ErrorCode::OutOfRange));
    assert!(short.message.headers.get(header::CORRELATION_ID).is_some());
    fixture.fails(short, Code::MessageSizeTooLarge);
    let bare = fixture.only();
    assert_eq!(place(&bare), RESULTS);
    assert!(bare.message.headers.get(header::CORRELATION_ID).is_none());
    fixture.acknowledge(bare);
    assert!(fixture.is_committed());
    let metrics = fixture.metrics.text();
    assert!(
        metrics.contains("nv_inference_request_failure{model=\"bird\""),
        "what was told counts: {metrics}"
    );
    assert!(!metrics.contains("nv_inference_request_success{"), "what was computed does not");
}

#[tokio::test(start_paused = true)]
async fn a_results_topic_too_small_for_any_reply_keeps_the_ticket_until_it_is_mended() {
    let mut fixture = Fixture::new();
    let answer = fixture.success();
    fixture.room.begin(answer).unwrap();
    for _ in 0..2 {
        let sent = fixture.only();
        if sent.way == Way::Own {
            fixture.refused(sent, Code::MessageSizeTooLarge);
        } else {
            assert_eq!(error_code(&sent), None, "the original reply first, each time");
            fixture.fails(sent, Code::MessageSizeTooLarge);
        }
        let short = fixture.only();
        fixture.fails(short, Code::MessageSizeTooLarge);
        let bare = fixture.only();
        let bytes = bare.message.batch_bytes();
        fixture.fails(bare, Code::MessageSizeTooLarge);
        let problems = fixture.problems();
        // A time has up to nine digits after its seconds.
        let named = (bytes - 10..=bytes + 10).any(|near| problems.contains(&format!(" {near} bytes")));
        assert!(problems.contains("topic predict.results") && named, "{bytes}: {problems}");
        assert!(!fixture.is_committed() && !fixture.room.is_idle());
        fixture.retry().await;
    }
    let sent = fixture.only();
    assert_eq!(error_code(&sent), None);
    fixture.acknowledge(sent);
    assert!(fixture.is_committed());
    assert_eq!(fixture.problems(), "");
}

#[tokio::test]
async fn a_dead_letter_that_its_topic_does_not_take_is_given_up_aloud_and_holds_nothing_up() {
    let mut fixture = Fixture::new();
    let answer = fixture.dead();
    let reply = fixture.begin(answer);
    fixture.acknowledge(reply);
    let letter = fixture.only();
    fixture.refused(letter, Code::MessageSizeTooLarge);
    assert_eq!((fixture.metrics.undeliverable.get(), fixture.metrics.dead_letters.get()), (1, 0));
    assert!(fixture.is_committed() && fixture.room.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_missing_dead_letter_topic_is_waited_for_behind_the_reply_and_said() {
    let mut fixture = Fixture::new();
    let answer = fixture.dead();
    let reply = fixture.begin(answer);
    fixture.acknowledge(reply);
    let letter = fixture.only();
    fixture.fails(letter, Code::UnknownTopic);
    assert!(fixture.problems().contains("topic predict.dead-letter takes no dead letters"));
    assert!(!fixture.is_committed());
    fixture.retry().await;
    let letter = fixture.only();
    assert_eq!(letter.message.value.as_deref(), Some(&b"no image"[..]));
    fixture.acknowledge(letter);
    assert!(fixture.is_committed());
    assert_eq!(fixture.problems(), "");
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_passing_is_tried_again_until_it_is_delivered() {
    let mut fixture = Fixture::new();
    let answer = fixture.success();
    fixture.room.begin(answer).unwrap();
    for _ in 0..3 {
        let sent = fixture.only();
        fixture.fails(sent, Code::MessageTimedOut);
        assert!(fixture.is_quiet(), "not before a pause");
        fixture.retry().await;
    }
    let sent = fixture.only();
    assert!(!fixture.is_committed());
    fixture.acknowledge(sent);
    assert!(fixture.is_committed());
}

#[tokio::test(start_paused = true)]
async fn a_sender_s_topic_that_stands_still_gives_way_to_the_results_topic_after_a_while() {
    let mut fixture = Fixture::new();
    let answer = fixture.success_to("answers");
    fixture.room.begin(answer).unwrap();
    let begun = Instant::now();
    loop {
        let sent = fixture.only();
        if place(&sent) == RESULTS {
            break;
        }
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(3)).await;
        fixture.fails(sent, Code::LeaderNotAvailable);
        if fixture.is_quiet() {
            fixture.retry().await;
        }
    }
    assert!(begun.elapsed() >= PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn nobody_s_reply_goes_elsewhere_because_the_broker_is_away() {
    let mut fixture = Fixture::new();
    let answer = fixture.success_to("answers");
    fixture.room.begin(answer).unwrap();
    fixture.health.set_connected(false);
    for _ in 0..5 {
        tokio::time::sleep(PATIENCE).await;
        let sent = fixture.only();
        assert_eq!(place(&sent).0, "answers");
        fixture.fails(sent, Code::MessageTimedOut);
        fixture.retry().await;
    }
}

#[tokio::test]
async fn a_topic_that_refuses_every_record_loses_none_and_soon_gets_few() {
    let mut fixture = Fixture::new();
    for _ in 0..20 {
        let answer = fixture.success_to("stale");
        fixture.room.begin(answer).unwrap();
    }
    let mut tried = 0;
    while !fixture.is_quiet() {
        let sent = fixture.next();
        if place(&sent) == RESULTS {
            fixture.acknowledge(sent);
        } else {
            tried += 1;
            fixture.fails(sent, Code::InvalidTimestamp);
        }
    }
    assert!(fixture.is_committed() && fixture.room.is_idle());
    assert_eq!((tried, fixture.metrics.rerouted.get()), (40, 20), "each among others and then alone");
    let answers: Vec<_> = (0..20).map(|_| fixture.success_to("stale")).collect();
    answers.into_iter().for_each(|answer| fixture.room.begin(answer).unwrap());
    let sent = std::mem::take(&mut *fixture.broker.sent.lock().unwrap());
    assert_eq!(sent.iter().filter(|sent| place(sent) != RESULTS).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_full_producer_keeps_the_record_waiting() {
    let mut fixture = Fixture::new();
    fixture.broker.refuse.lock().unwrap().extend([Code::QueueFull, Code::QueueFull]);
    let answer = fixture.success();
    fixture.room.begin(answer).unwrap();
    fixture.retry().await;
    fixture.retry().await;
    let sent = fixture.only();
    fixture.acknowledge(sent);
    assert!(fixture.is_committed());
}

#[tokio::test]
async fn a_producer_that_failed_for_good_ends_the_room_and_finishes_nothing() {
    let mut fixture = Fixture::new();
    let answer = fixture.success();
    fixture.room.begin(answer).unwrap();
    let parcel = fixture.only().parcel;
    let fatal = fixture.room.delivered(Delivered { parcel, result: Err(fault(Code::Fatal)) }).unwrap_err();
    assert_eq!(fatal.0.kind, kafka::FaultKind::Fatal);
    assert!(!fixture.is_committed());
}

#[tokio::test(start_paused = true)]
async fn what_another_worker_owns_now_is_neither_answered_nor_tried_again_here() {
    let mut fixture = Fixture::new();
    let (late, returned, waiting) = (fixture.success(), fixture.success(), fixture.success());
    fixture.room.begin(returned).unwrap();
    fixture.room.begin(waiting).unwrap();
    let (returned, waiting) = (fixture.next(), fixture.next());
    fixture.fails(waiting, Code::MessageTimedOut);
    fixture.book.forget([0]);
    fixture.room.begin(late).unwrap();
    fixture.fails(returned, Code::MessageTimedOut);
    fixture.retry().await;
    assert!(fixture.is_quiet() && fixture.room.is_idle() && fixture.room.next_due().is_none());
}

#[tokio::test]
async fn the_room_ends_behind_the_last_acknowledgement() {
    let mut fixture = Fixture::new();
    let (to_room, answers) = mpsc::channel(1);
    to_room.send(fixture.success()).await.unwrap();
    drop(to_room);
    let (to_delivered, delivered) = mpsc::unbounded_channel();
    let pulse = fixture.health.pulse("respond");
    let room = tokio::spawn(run(fixture.room, answers, delivered, pulse));
    // There is one thread: whoever is not waiting gets its turn each time.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let sent = fixture.broker.sent.lock().unwrap().pop_front().expect("nothing was sent");
    assert!(!room.is_finished());
    to_delivered.send(Delivered { parcel: sent.parcel, result: Ok(()) }).unwrap();
    tokio::time::timeout(Duration::from_secs(60), room).await.expect("it ends").unwrap().unwrap();
}
