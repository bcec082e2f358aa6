//! What each kind of record becomes.

use super::*;
use crate::doubles;
use crate::models::Models;
use wire::header;

/// For requests that do not say.
const TOP_K: usize = 5;

fn original(value: &[u8]) -> Original {
    Original {
        topic: Arc::from("predict.requests"),
        partition: 3,
        offset: 7,
        key: None,
        value: Some(value.to_vec()),
        headers: wire::Headers::new(),
        timestamp: None,
    }
}

fn decode() -> Decode {
    let served = vec![doubles::served("bird", 1), doubles::served("shoe", 1)];
    let (queue, limits) = (Queue::default(), Limits { max_request_bytes: 100, ..Limits::default() });
    let models = Models::new(served, "shoe", "weights").unwrap();
    let (lanes, _) = Lanes::new(&models, doubles::shape(queue.clone()), Arc::default(), None);
    Decode::new(lanes, &queue, &limits, TOP_K, (doubles::shadows(), doubles::reviews()))
}

fn record(value: &[u8], headers: &[(&str, &str)]) -> Record {
    let mut original = original(value);
    headers.iter().for_each(|(name, text)| original.headers.push(*name, *text));
    Record { original, unreadable: None, ticket: doubles::ticket(), arrived: Instant::now() }
}

fn failure(value: &[u8], headers: &[(&str, &str)]) -> (Answer, ErrorCode, bool) {
    let answer = decode().step(record(value, headers)).expect_err("no job");
    let Err(failure) = &answer.result else { panic!("{answer:?}") };
    let (code, dead) = (failure.reply.code, failure.dead.is_some());
    (answer, code, dead)
}

#[test]
fn a_bare_image_is_a_job_for_the_default_model_and_gets_an_id() {
    let job = decode().step(record(&doubles::image(9), &[])).unwrap().job;
    assert_eq!(format!("{:?}", job.lane), "shoe 1");
    assert_eq!(job.pixels.data, [9]);
    assert_eq!(job.asker.encoding, wire::Encoding::Json);
    assert_eq!(job.asker.id, "predict.requests-3@7", "the same on redelivery");
    assert_eq!(job.top_k, TOP_K);
    assert_eq!(job.deadline, None);
}

#[test]
fn headers_say_what_is_asked_and_where_to_answer() {
    let headers = [
        (header::ID, "r1"),
        (header::MODEL, "bird"),
        (header::TOP_K, "3"),
        (header::REPLY_TOPIC, "answers"),
        (header::PRIORITY, "1"),
        (header::TRACEPARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        (header::DEADLINE, "2099-01-01T00:00:00Z"),
    ];
    let job = decode().step(record(&doubles::image(9), &headers)).unwrap().job;
    assert_eq!((job.asker.id.as_str(), job.top_k, job.level), ("r1", 3, 0));
    assert_eq!(job.asker.reply_to.topic.as_deref(), Some("answers"));
    assert!(job.asker.trace.parent.is_some());
    assert!(job.deadline.is_some());
}

#[test]
fn what_can_never_succeed_goes_to_the_dead_letters_as_it_came() {
    type Case<'a> = (&'a [u8], &'a [(&'a str, &'a str)]);
    let cases: [Case<'_>; 6] = [
        (b"", &[]),
        (b"not an image", &[]),
        (b"{\"image\": 1}", &[(header::CONTENT_TYPE, "application/json")]),
        (b"x", &[(header::CONTENT_TYPE, "text/plain")]),
        (&doubles::image(9), &[(header::TOP_K, "0")]),
        (&doubles::PANIC_IN_DECODER, &[]),
    ];
    for (value, headers) in cases {
        let (answer, code, dead) = failure(value, headers);
        assert_eq!((code, dead), (ErrorCode::InvalidArgument, true), "{value:?}");
        let dead = answer.result.unwrap_err().dead.unwrap();
        assert_eq!(dead.value.as_deref(), Some(value), "unchanged");
    }
}

#[test]
fn a_record_that_could_not_be_read_whole_is_answered_and_a_dead_letter() {
    let unreadable = Some("its headers can't be read".to_owned());
    let outcome =
        decode().step(Record { unreadable, ..record(&doubles::image(9), &[]) }).expect_err("no job");
    assert_eq!(outcome.asker.id, "predict.requests-3@7");
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.reply.code, ErrorCode::InvalidArgument);
    assert_eq!(failure.dead.unwrap().value, Some(doubles::image(9)));
}

#[test]
fn the_key_and_the_headers_weigh_as_long_as_they_are_held() {
    let pressure = Arc::default();
    let book = crate::book::Book::new(crate::group::Delivery::AtLeastOnce);
    let mut heavy = record(&doubles::image(9), &[(header::TRACEPARENT, "00")]);
    heavy.original.key = Some(vec![1; 100_000]);
    heavy.original.headers.push("own", vec![0; 50_000]);
    let bytes = heavy.original.bytes();
    assert!((150_000..151_000).contains(&bytes), "{bytes}");
    heavy.ticket = book.begin(3, 7, book.assignment(3), &pressure, bytes).unwrap().0;
    let job = decode().step(heavy).unwrap().job;
    let held = pressure.amount().bytes;
    assert!((200_000..201_000).contains(&held), "the key and its copy in the reply, and no headers: {held}");
    drop(job);
    assert_eq!(pressure.amount().bytes, 0);
}

#[test]
fn a_null_value_is_an_empty_one() {
    let mut record = record(b"", &[]);
    record.original.value = None;
    let answer = decode().step(record).expect_err("no job");
    let dead = answer.result.unwrap_err().dead.unwrap();
    assert_eq!(dead.value, None);
}

#[test]
fn what_may_succeed_another_time_is_answered_and_no_dead_letter() {
    let image = doubles::image(9);
    let (_, code, dead) = failure(&[7; 101], &[]);
    assert_eq!((code, dead), (ErrorCode::OutOfRange, false), "a worker may take more tomorrow");
    let (answer, code, dead) = failure(&doubles::TOO_LARGE, &[]);
    assert_eq!((code, dead), (ErrorCode::OutOfRange, false), "nor an image");
    assert!(answer.result.unwrap_err().reply.message.contains("9000 pixels"), "it names the limit");
    assert_eq!(failure(&image, &[(header::MODEL, "fish")]).1, ErrorCode::NotFound);
    assert_eq!(failure(&image, &[(header::MODEL_VERSION, "4")]).1, ErrorCode::NotFound);
    let expired = [(header::DEADLINE, "2020-01-01T00:00:00Z")];
    let (_, code, dead) = failure(&image, &expired);
    assert_eq!((code, dead), (ErrorCode::DeadlineExceeded, false));
}

#[test]
fn a_bad_record_is_answered_under_its_own_id_at_its_own_address() {
    let headers = [(header::ID, "r2"), (header::REPLY_TOPIC, "answers")];
    let (answer, ..) = failure(b"not an image", &headers);
    assert_eq!(answer.asker.id, "r2");
    assert_eq!(answer.asker.reply_to.topic.as_deref(), Some("answers"));
}

#[test]
fn the_time_allowed_counts_from_the_record_s_timestamp() {
    let allowed = [(header::TIMEOUT_MS, "60000"), (header::DEADLINE, "2020-01-01T00:00:00Z")];
    let mut late = record(&doubles::image(9), &allowed);
    late.original.timestamp = Some(Timestamp::now() - jiff::SignedDuration::from_secs(61));
    let answer = decode().step(late).expect_err("no job");
    assert_eq!(answer.result.unwrap_err().reply.code, ErrorCode::DeadlineExceeded);

    let mut fresh = record(&doubles::image(9), &allowed);
    fresh.original.timestamp = Some(Timestamp::now() - jiff::SignedDuration::from_secs(20));
    let left = decode().step(fresh).unwrap().job.deadline.unwrap() - Instant::now();
    assert!((30..=40).contains(&left.as_secs()), "{left:?} of 60 s are left after 20");
}

#[test]
fn the_queue_s_timeout_counts_from_arrival_and_can_only_be_shortened() {
    let arrived = Instant::now();
    let queue = |default, allow| Queue {
        default_timeout_microseconds: default,
        allow_timeout_override: allow,
        ..Queue::default()
    };
    let late = Some("2099-01-01T00:00:00Z".parse().unwrap());
    let minute = 60_000_000;
    let at = arrived + Duration::from_secs(60);
    assert_eq!(deadline(None, arrived, &queue(minute, true)), Some(at));
    assert_eq!(deadline(late, arrived, &queue(minute, true)), Some(at), "not lengthened");
    assert!(deadline(late, arrived, &queue(0, true)).is_some());
    assert_eq!(deadline(late, arrived, &queue(0, false)), None, "not allowed to have one of its own");
    let soon = Some(Timestamp::now() + jiff::SignedDuration::from_secs(5));
    assert!(deadline(soon, arrived, &queue(minute, true)).unwrap() < at);
}
