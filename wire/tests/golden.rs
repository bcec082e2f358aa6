//! The files in `tests/golden/` fix every encoding: what is written today is what they hold, and what they hold is read
//! as the same value. After a change on purpose, `MLAAS_UPDATE_GOLDEN=1 cargo test -p wire --test golden` writes them
//! anew; such a change needs a new bincode layout version or a new `ce_type`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what failed by panicking.

mod common;

use std::path::PathBuf;

use common::{headers_from_text, headers_to_text};
use wire::{
    Action, Announcement, Comparison, Control, Encoding, Envelope, Headers, KeyRecord, Label, ReplyTo,
    Request, Response, Review, Snapshot, TraceContext, Verdict,
};

const LIMIT: usize = 1 << 20;

/// The file's bytes; written first where the environment asks for it.
fn golden(name: &str, written_today: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("MLAAS_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, written_today).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn golden_headers(name: &str, written_today: &Headers) -> Headers {
    let today = headers_to_text(written_today);
    let file = String::from_utf8(golden(name, today.as_bytes())).unwrap();
    assert_eq!(today, file, "the headers written today are not those of {name}");
    headers_from_text(&file)
}

fn check_request(name: &str, request: &Request<'_>, reply_to: &ReplyTo, trace: &TraceContext) {
    for (encoding, extension) in
        [(Encoding::Bincode, "bin"), (Encoding::Json, "json"), (Encoding::Raw, "png")]
    {
        let value = request.encode(encoding);
        let file = golden(&format!("{name}.{extension}"), &value);
        assert_eq!(value, file, "{name} as {encoding}: the value written today is not the file's");
        let headers = golden_headers(
            &format!("{name}.{extension}.headers"),
            &request.headers(encoding, "/golden", common::time(), reply_to, trace),
        );

        let envelope = Envelope::read(None, &headers);
        assert_eq!(envelope.defect, None);
        assert_eq!(envelope.encoding, Some(encoding));
        assert_eq!(&envelope.reply_to, reply_to);
        assert_eq!(&envelope.trace, trace);
        assert_eq!(&Request::decode(&envelope, &file, LIMIT).unwrap(), request);

        // Bincode and JSON say all of it without a header,
        if encoding != Encoding::Raw {
            // but for the time allowed, which counts from the record's timestamp, and travels beside the value as that does.
            let bare = Envelope::read(None, &Headers::new());
            let said = Request { timeout_ms: None, ..request.clone() };
            assert_eq!(Request::decode(&bare, &file, LIMIT).unwrap(), said, "{name} without headers");
        }
    }
}

#[test]
fn requests() {
    check_request("request", &common::full_request(), &common::reply_to(), &common::trace());
    check_request("request-small", &common::small_request(), &ReplyTo::default(), &TraceContext::default());
}

#[test]
fn results() {
    for (name, response) in
        [("success", common::success()), ("not-a-bird", common::not_a_bird()), ("error", common::error())]
    {
        for (encoding, extension) in [(Encoding::Bincode, "bin"), (Encoding::Json, "json")] {
            let value = response.encode(encoding);
            let file = golden(&format!("result-{name}.{extension}"), &value);
            assert_eq!(value, file, "{name} as {encoding}: the value written today is not the file's");
            let headers = golden_headers(
                &format!("result-{name}.{extension}.headers"),
                &response.headers(encoding, common::time(), &common::reply_to(), &common::trace()),
            );
            assert_eq!(Response::decode(&headers, &file).unwrap(), response);
            assert_eq!(Response::decode(&Headers::new(), &file).unwrap(), response, "{name} without headers");
        }
    }
}

#[test]
fn announcements() {
    let announcement = common::announcement();
    let file = golden("announcement.json", &announcement.encode());
    assert_eq!(announcement.encode(), file);
    assert_eq!(Announcement::decode(&file).unwrap(), announcement);
    assert_eq!(announcement.key(), "worker-1/fashion-mnist/1");
}

#[test]
fn comparisons() {
    let comparison = common::comparison();
    let file = golden("comparison.json", &comparison.encode());
    assert_eq!(comparison.encode(), file);
    assert_eq!(Comparison::decode(&file).unwrap(), comparison);
}

#[test]
fn key_records() {
    let key = common::key();
    let file = golden("key.json", &key.encode());
    assert_eq!(key.encode(), file);
    assert_eq!(KeyRecord::decode(&file).unwrap(), key);
    assert_eq!(key.key(), "3f9a1c2b4d5e");
    // What does not limit a key stands nowhere.
    let plain = KeyRecord { models: None, rate: None, burst: None, expires_at: None, ..key };
    let text = String::from_utf8(plain.encode()).unwrap();
    assert!(!text.contains("null") && !text.contains("models"), "{text}");
    assert_eq!(KeyRecord::decode(text.as_bytes()).unwrap(), plain);
}

#[test]
fn control_records() {
    let control = common::control();
    let file = golden("control.json", &control.encode());
    assert_eq!(control.encode(), file);
    assert_eq!(Control::decode(&file).unwrap(), control);
    assert_eq!(control.key(), "bird/4");
    let all = Control { action: Action::Refresh, model: None, version: None, ..control };
    assert_eq!(Control::decode(&all.encode()).unwrap(), all);
    assert_eq!(all.key(), "all");
}

#[test]
fn snapshots() {
    let snapshot = common::snapshot();
    let file = golden("snapshot.json", &snapshot.encode());
    assert_eq!(snapshot.encode(), file);
    assert_eq!(Snapshot::decode(&file).unwrap(), snapshot);
    assert_eq!(snapshot.patience().as_secs(), 5);
    assert_eq!(Snapshot { interval_ms: 4_000, ..snapshot }.patience().as_secs(), 12);
}

#[test]
fn reviews() {
    let review = common::review();
    let headers = review.headers(b"\x89PNG\r\n\x1a\n");
    let read = golden_headers("review.headers", &headers);
    assert_eq!(read, headers);
    assert_eq!(Review::decode(&read).unwrap(), review);
    let file = golden("review.json", headers.get(wire::review::HEADER).unwrap());
    assert_eq!(headers.get(wire::review::HEADER).unwrap(), file);
    assert_eq!(review.label_key(), common::label().key(), "what is said of it is found");
}

#[test]
fn labels() {
    let label = common::label();
    let file = golden("label.json", &label.encode());
    assert_eq!(label.encode(), file);
    assert_eq!(Label::decode(&file).unwrap(), label);
    let skipped = Label { verdict: Verdict::Skipped, label: None, predicted: None, version: None, ..label };
    assert_eq!(Label::decode(&skipped.encode()).unwrap(), skipped);
    assert_eq!(skipped.key(), format!("fashion-mnist/{}", skipped.image));
}

#[test]
fn dead_letters() {
    let mut headers = Headers::new();
    headers.push("ce_id", "r-1");
    headers.push("mine", vec![0x00, 0xff]);
    let own = headers.clone();
    wire::dead_letter::DeadLetter {
        topic: "predict.requests",
        partition: 3,
        offset: 41,
        stage: "decode",
        code: "INVALID_ARGUMENT",
        message: "the value is empty: send the bytes of an image file",
    }
    .write(&mut headers);
    let read = golden_headers("dead-letter.headers", &headers);
    assert_eq!(read, headers);
    assert!(own.iter().eq(headers.iter().take(2)), "the record's own headers stay in front, unchanged");
}
