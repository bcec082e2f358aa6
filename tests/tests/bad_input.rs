//! Requests that can't be answered with a label: each gets its error, and those around it their labels.

use e2e::account::{Account, Expect};
use e2e::images::{bomb_png, clothes};
use e2e::scene::{Kind, PARTITIONS, Scene};
use e2e::traffic::Record;
use wire::{Encoding, ErrorCode, ErrorReply, Outcome, Request};

use crate::FASHION_ONLY;

on_both_brokers!(each_kind_gets_its_error_and_its_neighbours_their_labels, poison_at_the_tail_is_committed);

/// A kind of bad input: its name, the record, the code, whether it is dead-lettered, words of the message.
type Bad = (&'static str, Record, ErrorCode, bool, &'static str);

/// With a header whose name is no text. Whoever may send can write one.
fn odd(mut record: Record) -> Record {
    record.headers.push(*b"caf\xe9", "1");
    record
}

fn kinds(good: &[u8]) -> Vec<Bad> {
    use ErrorCode::{DeadlineExceeded, InvalidArgument, NotFound, OutOfRange};
    let record = |name: &'static str, value: &[u8]| Record::bytes(&format!("bad-{name}"), value);
    let truncated = &good[..good.len() / 2];
    let bincode = Request::new(good.to_vec()).encode(Encoding::Bincode);
    let invalid = |name, value: &[u8], headers: &[(&str, &[u8])], words| {
        let record = headers.iter().fold(record(name, value), |record, (n, v)| record.header(n, *v));
        (name, record, InvalidArgument, true, words)
    };
    let json: &[(&str, &[u8])] = &[("content-type", b"application/json")];
    vec![
        invalid("empty", b"", &[], "empty"),
        ("null", Record { value: None, ..record("null", b"") }, InvalidArgument, true, "empty"),
        invalid("no-image", b"these are words and no picture", &[], "image"),
        invalid("truncated", truncated, &[("content-type", b"image/png")], "image"),
        ("bomb", record("bomb", &bomb_png()), OutOfRange, false, "image"),
        ("oversize", record("oversize", &[0xff; 200_000]), OutOfRange, false, "limit"),
        invalid("content-type", good, &[("content-type", b"text/html")], "content-type"),
        invalid("json", b"{\"image\": ", json, "JSON"),
        invalid("base64", b"{\"image\": \"*\"}", json, "base64"),
        invalid("field", b"{\"image\": \"AA==\", \"modell\": \"bird\"}", json, "modell"),
        invalid(
            "bincode-version",
            &[&[9], &bincode[1..]].concat(),
            &[("content-type", b"application/x-bincode")],
            "version",
        ),
        invalid("bincode-cut", &bincode[..bincode.len() - 9], &[], "bincode"),
        invalid("header", good, &[("ce_topk", b"many")], "ce_topk"),
        ("header-name", odd(record("header-name", b"poison")), InvalidArgument, true, "image"),
        invalid("no-labels", good, &[("ce_topk", b"0")], "top_k"),
        invalid("partition", good, &[("kafka_replyPartition", b"2")], "kafka_replyPartition"),
        ("model", record("model", good).header("ce_model", "cat"), NotFound, false, "cat"),
        ("version", record("version", good).header("ce_modelversion", "77"), NotFound, false, "77"),
        (
            "expired",
            record("expired", good).header("ce_deadline", "2020-01-01T00:00:00Z"),
            DeadlineExceeded,
            false,
            "deadline",
        ),
    ]
}

fn each_kind_gets_its_error_and_its_neighbours_their_labels(kind: Kind) {
    let scene = Scene::on(kind);
    let samples = clothes();
    let kinds = kinds(&samples[0].bytes);
    let mut account = Account::default();
    let mut send = |records: &[Record], expect: &dyn Fn(usize) -> Expect| {
        let acknowledged = scene.sender().send(records);
        account.sent(records, acknowledged, expect);
    };
    // All are there before the worker is, so that it takes them together: on every partition a good one, a bad one, a good
    // one. The good have a number for their sample.
    let mut records = Vec::new();
    let mut expected = Vec::new();
    for (i, (_, record, code, dead, _)) in kinds.iter().enumerate() {
        let partition = i32::try_from(i).unwrap() % PARTITIONS;
        for good in [2 * i, 2 * i + 1] {
            let sample = &samples[good % samples.len()];
            let fine = Record::bytes(&format!("good-{good}"), sample.bytes.clone()).on(partition);
            records.push(if good % 5 == 0 { odd(fine) } else { fine });
            expected.push(Expect::Label(sample.label.clone()));
            if good % 2 == 0 {
                records.push(record.clone().on(partition));
                expected.push(Expect::Error { code: *code, dead: *dead });
            }
        }
    }
    send(&records, &|i| expected[i].clone());

    let limit = [FASHION_ONLY, &["--set", "limits.max_request_bytes=100000"]].concat();
    let _worker = scene.worker("w1", &limit);
    scene.settle(&mut account);
    account.assert_whole(0);
    for (name, _, code, dead, words) in &kinds {
        let id = format!("bad-{name}");
        let [answer] = account.answers_to(&id) else { panic!("{id} has not one answer") };
        let Outcome::Error(ErrorReply { message, retryable, .. }) = &answer.outcome else {
            panic!("{answer:?}")
        };
        assert!(message.contains(words), "{name}: {message}");
        assert_eq!(*retryable, code.is_retryable());
        for letter in account.dead_letters_of(&id) {
            let place = account.places.iter().find(|p| p.id.as_ref() == Some(&id)).unwrap();
            let header = |name: &str| letter.header(&format!("__connect.errors.{name}")).unwrap_or_default();
            assert_eq!(header("topic"), scene.topics.requests);
            assert_eq!(header("partition"), place.partition.to_string());
            assert_eq!(header("offset"), place.offset.to_string());
            assert_eq!(header("stage"), "decode");
            assert_eq!(header("exception.class.name"), code.name());
            assert_eq!(&header("exception.message"), message);
        }
        assert_eq!(account.dead_letters_of(&id).len(), usize::from(*dead), "{name}");
    }
}

/// The last record of every partition can't be answered with a label, and is committed nevertheless: by its offset nobody
/// could tell that it was the last.
fn poison_at_the_tail_is_committed(kind: Kind) {
    let scene = Scene::on(kind);
    let good = &clothes()[0];
    let mut account = Account::default();
    let mut records = Vec::new();
    let mut expected = Vec::new();
    for partition in 0..PARTITIONS {
        let mut push = |id: &str, expect: Expect, record: &dyn Fn(String) -> Record| {
            records.push(record(format!("{id}-{partition}")).on(partition));
            expected.push(expect);
        };
        push("good", Expect::Label(good.label.clone()), &|id| Record::bytes(&id, good.bytes.clone()));
        for i in 0..5 {
            let expired = Expect::Error { code: ErrorCode::DeadlineExceeded, dead: false };
            push(&format!("expired-{i}"), expired, &|id| {
                Record::bytes(&id, good.bytes.clone()).header("ce_deadline", "2020-01-01T00:00:00Z")
            });
        }
        let poison = Expect::Error { code: ErrorCode::InvalidArgument, dead: true };
        push("poison", poison, &|id| Record::bytes(&id, "poison"));
    }
    let acknowledged = scene.sender().send(&records);
    account.sent(&records, acknowledged, |i| expected[i].clone());
    let _worker = scene.worker("w1", FASHION_ONLY);
    scene.settle(&mut account);
    // Rule 4 is that the committed offset is the end; rule 5, that each expired request has the one reply.
    account.assert_whole(0);
    assert!(scene.offsets().iter().all(|(committed, end)| *end == 7 && committed == end));
}
