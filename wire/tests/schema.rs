//! The JSON Schemas and the AsyncAPI document in `docs/` say what the code does: what is written today validates, what a
//! reader refuses does not, and the headers are the same on both sides.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what failed by panicking.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::{Value, json};
use wire::{
    Announcement, Comparison, Control, Encoding, Envelope, ErrorCode, Headers, KeyRecord, Request, Response,
    Snapshot, dead_letter, header,
};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn schema(name: &str) -> Value {
    let path = docs().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Formats (`date-time`) are asserted, not only noted.
fn validator(schema: &Value) -> Validator {
    jsonschema::meta::validate(schema).unwrap_or_else(|e| panic!("not a JSON Schema: {e}"));
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[track_caller]
fn assert_valid(validator: &Validator, value: &Value) {
    let errors =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect::<Vec<_>>();
    assert!(errors.is_empty(), "{value}\n{errors:#?}");
}

#[test]
fn what_is_written_is_valid() {
    for (name, file) in [
        ("request", "request"),
        ("request", "request-small"),
        ("result", "result-success"),
        ("result", "result-not-a-bird"),
        ("result", "result-error"),
        ("announcement", "announcement"),
        ("comparison", "comparison"),
        ("control", "control"),
        ("key", "key"),
        ("snapshot", "snapshot"),
        ("review", "review"),
        ("label", "label"),
    ] {
        let validator = validator(&schema(&format!("schema/{name}.json")));
        assert_valid(&validator, &serde_json::from_slice(&golden(&format!("{file}.json"))).unwrap());
    }
}

/// A change to a valid value: a pointer to the field, and what stands there instead; `None` takes it away.
type Change = (&'static str, Option<Value>);

fn changed(base: &Value, (pointer, value): &Change) -> Value {
    let mut changed = base.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(field.to_owned(), value.clone()),
        None => parent.remove(field),
    };
    changed
}

/// The schema and the reader agree about each change.
fn agree(schema_name: &str, file: &str, reads: impl Fn(&[u8]) -> bool, changes: &[(bool, Change)]) {
    let validator = validator(&schema(schema_name));
    let base: Value = serde_json::from_slice(&golden(file)).unwrap();
    for (good, change) in changes {
        let value = changed(&base, change);
        assert_eq!(reads(value.to_string().as_bytes()), *good, "read: {change:?}");
        assert_eq!(validator.is_valid(&value), *good, "schema: {change:?}");
    }
}

#[test]
fn a_request_is_refused_by_both_or_by_neither() {
    let reads =
        |value: &[u8]| Request::decode(&Envelope::read(None, &Headers::new()), value, usize::MAX).is_ok();
    let too_large = json!(4_294_967_296_u64);
    agree(
        "schema/request.json",
        "request.json",
        reads,
        &[
            (true, ("/model", None)),
            (true, ("/model", Some(Value::Null))),
            (true, ("/request_id", None)),
            (true, ("/top_k", Some(json!(u32::MAX)))),
            (true, ("/deadline", Some(json!("2026-01-02T03:04:05+02:00")))),
            (false, ("/image", None)),
            (false, ("/image", Some(json!("")))),
            (false, ("/image", Some(json!("AA=")))),
            (false, ("/image", Some(json!("AA")))),
            (false, ("/image", Some(json!("A\nA==")))),
            (false, ("/image", Some(json!("A_-=")))),
            (false, ("/image", Some(json!([1, 2])))),
            (false, ("/image", Some(Value::Null))),
            (false, ("/modell", Some(json!("bird")))),
            (false, ("/timeout_ms", Some(json!(1)))),
            (false, ("/request_id", Some(json!("")))),
            (false, ("/request_id", Some(json!("a\nb")))),
            (false, ("/request_id", Some(json!("x".repeat(257))))),
            (false, ("/request_id", Some(json!(7)))),
            (false, ("/model", Some(json!(7)))),
            (false, ("/model_version", Some(json!("1")))),
            (false, ("/model_version", Some(json!(-1)))),
            (false, ("/top_k", Some(json!(1.5)))),
            (false, ("/top_k", Some(too_large.clone()))),
            (false, ("/priority", Some(too_large))),
            (false, ("/deadline", Some(json!("tomorrow")))),
            (false, ("/deadline", Some(json!(1_767_323_045)))),
        ],
    );
}

#[test]
fn a_result_is_refused_by_both_or_by_neither() {
    let reads = |value: &[u8]| Response::decode(&Headers::new(), value).is_ok();
    let model = json!({"name": "bird", "version": 1, "digest": "sha256:"});
    agree(
        "schema/result.json",
        "result-success.json",
        reads,
        &[
            (true, ("/new", Some(json!([1])))),
            (true, ("/model/new", Some(json!([1])))),
            (true, ("/predictions", Some(json!([])))),
            (true, ("/predictions", None)),
            (true, ("/timings_us", None)),
            (true, ("/batch_size", None)),
            (true, ("/error", None)),
            (false, ("/status", Some(json!("perhaps")))),
            (false, ("/status", Some(json!("error")))),
            (false, ("/status", None)),
            (false, ("/model", Some(Value::Null))),
            (false, ("/model/version", Some(json!(-1)))),
            (false, ("/model/digest", None)),
            (false, ("/worker", None)),
            (false, ("/request_id", None)),
            (false, ("/batch_size", Some(json!("8")))),
            (false, ("/timings_us/total", None)),
            (false, ("/timings_us/total", Some(json!(-1)))),
            (false, ("/predictions", Some(json!([{"index": 1, "probability": 0.5}])))),
            (false, ("/predictions", Some(json!([{"label": "x", "index": -1, "probability": 0.5}])))),
            (false, ("/predictions", Some(json!([{"label": "x", "index": null}])))),
            (false, ("/error", Some(json!({"code": "INTERNAL", "message": "", "retryable": true})))),
        ],
    );
    agree(
        "schema/result.json",
        "result-error.json",
        reads,
        &[
            (true, ("/error/code", Some(json!("DATA_LOSS")))),
            (true, ("/model", None)),
            (true, ("/error/new", Some(json!(1)))),
            (false, ("/error/code", Some(json!("data loss")))),
            (false, ("/error/code", Some(json!("X".repeat(41))))),
            (false, ("/error/code", Some(json!(3)))),
            (false, ("/error/retryable", None)),
            (false, ("/error/message", None)),
            (false, ("/error", Some(Value::Null))),
            (false, ("/model", Some(model))),
        ],
    );
}

#[test]
fn an_announcement_is_refused_by_both_or_by_neither() {
    agree(
        "schema/announcement.json",
        "announcement.json",
        |value| Announcement::decode(value).is_ok(),
        &[
            (true, ("/new", Some(json!({})))),
            (true, ("/skipped", Some(json!([{"model": "bird", "version": null, "reason": "no file"}])))),
            (true, ("/skipped", Some(json!([{"model": "bird", "reason": "no file"}])))),
            (false, ("/skipped", Some(json!([{"model": "bird"}])))),
            (false, ("/skipped", Some(Value::Null))),
            (false, ("/version", Some(json!("1")))),
            (false, ("/ttl_s", None)),
            (false, ("/announced_at", Some(json!("now")))),
            (false, ("/default", Some(json!("yes")))),
        ],
    );
}

#[test]
fn a_comparison_is_refused_by_both_or_by_neither() {
    agree(
        "schema/comparison.json",
        "comparison.json",
        |value| Comparison::decode(value).is_ok(),
        &[
            (true, ("/new", Some(json!({})))),
            (true, ("/shadow/predictions", Some(json!([])))),
            (false, ("/shadow/model", Some(Value::Null))),
            (false, ("/answer", None)),
            (false, ("/agree", Some(json!("yes")))),
            (false, ("/computed_at", Some(json!("now")))),
            (false, ("/request_id", None)),
        ],
    );
}

#[test]
fn a_key_record_is_refused_by_both_or_by_neither() {
    agree(
        "schema/key.json",
        "key.json",
        |value| KeyRecord::decode(value).is_ok(),
        &[
            (true, ("/new", Some(json!({})))),
            (true, ("/scopes", Some(json!(["something that comes later"])))),
            (true, ("/scopes", Some(json!([])))),
            (true, ("/models", None)),
            (true, ("/models", Some(Value::Null))),
            (true, ("/rate", Some(Value::Null))),
            (true, ("/expires_at", None)),
            (true, ("/revoked_at", Some(json!("2026-02-02T03:04:05Z")))),
            (false, ("/id", None)),
            (false, ("/digest", None)),
            (false, ("/scopes", None)),
            (false, ("/scopes", Some(json!("predict")))),
            (false, ("/scopes", Some(json!([7])))),
            (false, ("/models", Some(json!("bird")))),
            (false, ("/rate", Some(json!(0.5)))),
            (false, ("/burst", Some(json!(-1)))),
            (false, ("/expires_at", Some(json!("never")))),
            (false, ("/created_by", Some(Value::Null))),
        ],
    );
}

#[test]
fn a_control_record_is_refused_by_both_or_by_neither() {
    agree(
        "schema/control.json",
        "control.json",
        |value| Control::decode(value).is_ok(),
        &[
            (true, ("/new", Some(json!({})))),
            (true, ("/action", Some(json!("something that comes later")))),
            (true, ("/model", None)),
            (true, ("/version", Some(Value::Null))),
            (false, ("/version", Some(json!("4")))),
            (false, ("/action", None)),
            (false, ("/action", Some(json!(7)))),
            (false, ("/at", Some(json!("now")))),
            (false, ("/by", Some(Value::Null))),
        ],
    );
}

#[test]
fn a_snapshot_is_refused_by_both_or_by_neither() {
    agree(
        "schema/snapshot.json",
        "snapshot.json",
        |value| Snapshot::decode(value).is_ok(),
        &[
            (true, ("/new", Some(json!({})))),
            (true, ("/models", None)),
            (true, ("/models", Some(json!([{"model": "bird", "version": 1}])))),
            (
                true,
                ("/models", Some(json!([{"model": "bird", "version": 1, "latency": [[255, 1], [0, 2]]}]))),
            ),
            (true, ("/errors", Some(json!({"NEW": 7})))),
            (true, ("/state", None)),
            (true, ("/state/lag", Some(Value::Null))),
            (true, ("/state/new", Some(json!(1)))),
            (false, ("/worker", None)),
            (false, ("/at", Some(json!("now")))),
            (false, ("/covers_ms", Some(json!(-1)))),
            (false, ("/interval_ms", None)),
            (false, ("/errors", Some(json!({"NEW": "many"})))),
            (false, ("/state/lag", Some(json!("far")))),
            (false, ("/state/paused", Some(json!(0)))),
            (false, ("/models", Some(json!([{"model": "bird"}])))),
            (false, ("/models", Some(json!([{"model": "bird", "version": 1, "answered": "12"}])))),
            (false, ("/models", Some(json!([{"model": "bird", "version": 1, "latency": [[256, 1]]}])))),
            (false, ("/models", Some(json!([{"model": "bird", "version": 1, "latency": [[1]]}])))),
            (
                false,
                ("/models", Some(json!([{"model": "bird", "version": 1, "rooms_us": {"decode": null}}]))),
            ),
        ],
    );
}

#[test]
fn a_review_is_refused_by_both_or_by_neither() {
    let reads = |value: &[u8]| {
        let mut headers = Headers::new();
        headers.push(wire::review::HEADER, value);
        wire::Review::decode(&headers).is_ok()
    };
    agree(
        "schema/review.json",
        "review.json",
        reads,
        &[
            (true, ("/new", Some(json!({})))),
            (true, ("/predictions", Some(json!([])))),
            (true, ("/why", Some(json!("a reason that comes later")))),
            (false, ("/why", Some(json!(1)))),
            (false, ("/why", None)),
            (false, ("/image", Some(json!("sha256:0")))),
            (false, ("/image", Some(json!("../../etc/passwd")))),
            (false, ("/image", None)),
            (false, ("/model", Some(Value::Null))),
            (false, ("/predictions", None)),
            (false, ("/computed_at", Some(json!("now")))),
            (false, ("/request_id", None)),
        ],
    );
}

#[test]
fn a_label_is_refused_by_both_or_by_neither() {
    agree(
        "schema/label.json",
        "label.json",
        |value| wire::Label::decode(value).is_ok(),
        &[
            (true, ("/new", Some(json!({})))),
            (true, ("/predicted", None)),
            (true, ("/predicted", Some(Value::Null))),
            (true, ("/version", None)),
            (true, ("/verdict", Some(json!("skipped")))),
            (true, ("/verdict", Some(json!("something that comes later")))),
            (false, ("/verdict", Some(json!(1)))),
            (false, ("/verdict", None)),
            (false, ("/label", None)),
            (false, ("/label", Some(Value::Null))),
            (false, ("/label", Some(json!(4)))),
            (false, ("/image", Some(json!("sha256:0")))),
            (false, ("/model", None)),
            (false, ("/by", None)),
            (false, ("/at", Some(json!("now")))),
        ],
    );
}

#[test]
fn the_schema_shows_the_codes_there_are() {
    let shown = &schema("schema/result.json")["$defs"]["error"]["properties"]["code"]["examples"];
    assert_eq!(*shown, json!(ErrorCode::ALL.iter().map(ErrorCode::name).collect::<Vec<_>>()));
}

fn asyncapi() -> Value {
    let path = docs().join("asyncapi.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The headers of that message in the document.
fn documented<'a>(document: &'a Value, message: &str) -> &'a Value {
    let headers = &document["components"]["messages"][message]["headers"]["$ref"];
    let pointer = headers.as_str().unwrap().strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere"))
}

fn names(schema: &Value) -> BTreeSet<&str> {
    schema["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_asyncapi_document_has_every_header_and_no_other() {
    let document = asyncapi();
    assert_eq!(names(documented(&document, "request")), BTreeSet::from(header::ALL));
    assert_eq!(names(documented(&document, "deadLetter")), BTreeSet::from(dead_letter::HEADERS));
    assert_eq!(names(documented(&document, "review")), BTreeSet::from(wire::review::HEADERS));
    let answer =
        common::success().headers(Encoding::Json, common::time(), &common::reply_to(), &common::trace());
    let written = answer.iter().map(|(name, _)| std::str::from_utf8(name).unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(names(documented(&document, "result")), written);
    assert!(written.is_subset(&BTreeSet::from(header::ALL)), "each has its constant");
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_golden_headers_are_what_the_asyncapi_document_says() {
    let document = asyncapi();
    for (message, file) in [
        ("request", "request.json"),
        ("request", "request.png"),
        ("request", "request-small.bin"),
        ("result", "result-success.json"),
        ("result", "result-success.bin"),
        ("result", "result-error.json"),
        ("deadLetter", "dead-letter"),
        ("review", "review"),
    ] {
        let text = String::from_utf8(golden(&format!("{file}.headers"))).unwrap();
        let object = common::headers_from_text(&text)
            .iter()
            .map(|(name, value)| (lossy(name), json!(lossy(value.unwrap_or_default()))))
            .collect::<serde_json::Map<_, _>>();
        let validator = validator(documented(&document, message));
        assert_valid(&validator, &Value::Object(object.clone()));
        for required in documented(&document, message)["required"].as_array().into_iter().flatten() {
            let mut less = object.clone();
            less.remove(required.as_str().unwrap()).unwrap();
            assert!(!validator.is_valid(&Value::Object(less)), "{file} without {required}");
        }
    }
    let validator = validator(documented(&document, "request"));
    assert!(validator.is_valid(&json!({})), "a request needs none");
    for (name, odd) in [
        ("ce_topk", "many"),
        ("ce_modelversion", "1.5"),
        ("ce_priority", "-1"),
        ("ce_timeoutms", "30s"),
        ("ce_specversion", "0.3"),
        ("ce_deadline", "tomorrow"),
        ("kafka_replyTopic", "a b"),
    ] {
        let mut headers = serde_json::Map::new();
        headers.insert(name.to_owned(), json!(odd));
        assert!(!validator.is_valid(&Value::Object(headers)), "{name}: {odd}");
    }
}

/// Every `$ref` in it leads somewhere, in the document or in a file beside it.
#[test]
fn the_asyncapi_document_s_references_lead_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = asyncapi();
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        match reference.strip_prefix('#') {
            Some(pointer) => assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere"),
            None => drop(validator(&schema(reference))),
        }
    }
    let name = |message: &str| document["components"]["messages"][message]["name"].clone();
    assert_eq!(name("request"), header::TYPE_REQUEST);
    assert_eq!(name("result"), header::TYPE_RESULT);
    let page = std::fs::read_to_string(docs().join("protocol.md")).unwrap();
    for channel in document["channels"].as_object().unwrap().values() {
        let Some(topic) = channel["address"].as_str() else { continue };
        assert!(page.contains(&format!("| `{topic}` |")), "docs/protocol.md has no topic {topic}");
    }
}
