//! What a record's key, headers and value mean together, case by case.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what failed by panicking.

mod common;

use common::PIXEL_PNG;
use wire::{
    DecodeError, Encoding, Envelope, ErrorCode, ErrorReply, Headers, Request, Response, TraceContext,
};

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec()))).collect()
}

fn decode(key: Option<&[u8]>, headers: &Headers, value: &[u8]) -> Result<Request, DecodeError> {
    Request::decode(&Envelope::read(key, headers), value, 1 << 20)
}

/// The error's text, which is what the sender gets to read.
fn refusal(headers: &Headers, value: &[u8]) -> String {
    let error = decode(None, headers, value).unwrap_err();
    assert_eq!(ErrorReply::from(error.clone()).code, ErrorCode::InvalidArgument);
    error.to_string()
}

#[test]
fn bytes_alone_are_a_request() {
    let request = decode(None, &Headers::new(), &PIXEL_PNG).unwrap();
    assert_eq!(request.image, PIXEL_PNG);
    assert_eq!((request.model, request.model_version, request.top_k), (None, None, None));
    assert!(uuid::Uuid::parse_str(&request.id).is_ok(), "an id is made: {}", request.id);
}

#[test]
fn the_id_is_the_header_then_the_key_then_the_body_then_made() {
    let json = common::small_request().encode(Encoding::Json);
    let with_header = headers(&[("ce_id", "from-header")]);
    let none = Headers::new();
    assert_eq!(decode(Some(b"from-key"), &with_header, &json).unwrap().id, "from-header");
    assert_eq!(decode(Some(b"from-key"), &none, &json).unwrap().id, "from-key");
    assert_eq!(decode(None, &none, &json).unwrap().id, "r-1");
    // A key that is no text, or no printable text, is no id.
    for key in [&[0xff, 0xfe][..], b"", b"line\nbreak", &[b'x'; 257]] {
        assert_eq!(decode(Some(key), &none, &json).unwrap().id, "r-1", "{key:?}");
    }
}

#[test]
fn springs_record_needs_no_key() {
    let mut spring = Headers::new();
    spring.push("kafka_replyTopic", "answers");
    spring.push("kafka_replyPartition", 2i32.to_be_bytes());
    let correlation: Vec<u8> = (0xf0..=0xff).collect();
    spring.push("kafka_correlationId", correlation.clone());
    let envelope = Envelope::read(None, &spring);
    assert_eq!(envelope.defect, None);
    assert_eq!(envelope.id, None);
    assert_eq!(envelope.reply_to.topic.as_deref(), Some("answers"));
    assert_eq!(envelope.reply_to.partition, Some(2));
    assert_eq!(envelope.reply_to.correlation_id.as_ref(), Some(&correlation));
    assert_eq!(envelope.answer_encoding(&PIXEL_PNG), Encoding::Json);

    let answer = common::error();
    let echoed = answer.headers(Encoding::Json, common::time(), &envelope.reply_to, &envelope.trace);
    assert_eq!(echoed.get("kafka_correlationId"), Some(&correlation[..]));
    assert_eq!(echoed.get("kafka_replyTopic"), None, "the answer asks for no answer");
}

#[test]
fn a_header_goes_before_the_body() {
    let mut request = common::full_request();
    let value = request.encode(Encoding::Json);
    let over = headers(&[
        ("ce_model", "fashion-mnist"),
        ("ce_modelversion", "7"),
        ("ce_topk", "9"),
        ("ce_deadline", "2030-01-01T00:00:00Z"),
        ("ce_priority", "0"),
    ]);
    let read = decode(None, &over, &value).unwrap();
    request.model = Some("fashion-mnist".to_owned());
    request.model_version = Some(7);
    request.top_k = Some(9);
    request.deadline = Some("2030-01-01T00:00:00Z".parse().unwrap());
    request.priority = Some(0);
    assert_eq!(read, request);
}

#[test]
fn of_two_headers_of_one_name_the_last_counts() {
    let twice = headers(&[("ce_model", "bird"), ("ce_model", "fashion-mnist")]);
    assert_eq!(decode(None, &twice, &PIXEL_PNG).unwrap().model.as_deref(), Some("fashion-mnist"));
}

#[test]
fn a_value_without_content_type_is_looked_at() {
    let sniffed = |value: &[u8]| Encoding::sniff(value);
    assert_eq!(sniffed(&PIXEL_PNG), Encoding::Raw);
    assert_eq!(sniffed(b" \n\t{\"image\": \"\"}"), Encoding::Json);
    assert_eq!(sniffed(&common::small_request().encode(Encoding::Bincode)), Encoding::Bincode);
    assert_eq!(sniffed(&[0xff, 0xd8, 0xff, 0xe0]), Encoding::Raw);
    assert_eq!(sniffed(b""), Encoding::Raw);
    // So is one that says only that it is bytes.
    let bytes = headers(&[("content-type", "application/octet-stream")]);
    assert_eq!(decode(None, &bytes, &common::small_request().encode(Encoding::Json)).unwrap().id, "r-1");
}

#[test]
fn media_types_are_read_as_media_types() {
    for text in ["application/json", "Application/JSON; charset=utf-8", " application/json "] {
        let json = headers(&[("content-type", text)]);
        assert!(decode(None, &json, &common::small_request().encode(Encoding::Json)).is_ok(), "{text}");
        assert!(Response::decode(&json, &common::success().encode(Encoding::Json)).is_ok(), "{text}");
    }
    let odd = headers(&[("content-type", "text/plain")]);
    assert!(refusal(&odd, &PIXEL_PNG).contains("content-type 'text/plain' is not known"));
    assert!(Response::decode(&odd, &common::success().encode(Encoding::Json)).is_err());
}

#[test]
fn accept_chooses_the_answers_encoding() {
    let answer = |pairs: &[(&str, &str)], value: &[u8]| {
        let envelope = Envelope::read(None, &headers(pairs));
        assert_eq!(envelope.defect, None);
        envelope.answer_encoding(value)
    };
    let bincode = common::small_request().encode(Encoding::Bincode);
    assert_eq!(answer(&[], &PIXEL_PNG), Encoding::Json);
    assert_eq!(answer(&[("content-type", "image/png")], &PIXEL_PNG), Encoding::Json);
    assert_eq!(answer(&[], &bincode), Encoding::Bincode);
    assert_eq!(answer(&[("accept", "application/x-bincode")], &PIXEL_PNG), Encoding::Bincode);
    assert_eq!(answer(&[("accept", "text/html, application/json;q=0.9")], &bincode), Encoding::Json);
    assert_eq!(answer(&[("accept", "*/*")], &bincode), Encoding::Bincode);
    assert!(refusal(&headers(&[("accept", "text/html")]), &PIXEL_PNG).contains("header accept"));
}

#[test]
fn a_bad_header_is_named() {
    for (name, value) in [
        ("ce_id", "two\nlines"),
        ("ce_modelversion", "one"),
        ("ce_topk", "-1"),
        ("ce_deadline", "tomorrow"),
        ("ce_priority", "4294967296"),
        ("kafka_replyTopic", "a topic"),
        ("kafka_replyPartition", "2"),
    ] {
        let text = refusal(&headers(&[(name, value)]), &PIXEL_PNG);
        assert!(text.starts_with(&format!("header {name}: ")), "{text}");
    }
    let mut negative = Headers::new();
    negative.push("kafka_replyPartition", (-1i32).to_be_bytes());
    assert!(refusal(&negative, &PIXEL_PNG).contains("-1 is no partition number"));
    let mut binary = Headers::new();
    binary.push("ce_model", vec![0xff]);
    assert!(refusal(&binary, &PIXEL_PNG).contains("not UTF-8 text"));
}

#[test]
fn a_bad_value_is_named() {
    let none = Headers::new();
    assert!(refusal(&none, b"").contains("the value is empty"));
    assert!(refusal(&none, b"{\"image\": \"\"}").contains("the image is empty"));
    assert!(refusal(&none, b"{\"image\": \"###\"}").contains("not padded base64"));
    assert!(refusal(&none, b"{\"picture\": \"AA==\"}").contains("unknown field `picture`"));
    assert!(refusal(&none, b"{}").contains("missing field `image`"));
    assert!(refusal(&none, b"{\"request_id\": \"a\\nb\", \"image\": \"AA==\"}").contains("the request id"));
    let bincode = headers(&[("content-type", "application/x-bincode")]);
    assert!(refusal(&bincode, &[2, 0, 0]).contains("layout version 2"));
    let mut long = common::small_request().encode(Encoding::Bincode);
    long.extend([0, 0]);
    assert!(refusal(&bincode, &long).contains("2 bytes are left over"));
    long.truncate(20);
    assert!(refusal(&bincode, &long).contains("not a bincode request"));
}

#[test]
fn structured_cloud_events() {
    let structured = headers(&[("content-type", "application/cloudevents+json; charset=UTF-8")]);
    let image = "iVBORw0KGgo=";
    let event = |rest: &str| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"e-1\",\"source\":\"/me\",\"type\":\"t\",\"other\":true,{rest}}}"
        )
    };
    let read = |rest: &str| decode(Some(b"a-key"), &structured, event(rest).as_bytes());

    let request = read(&format!("\"model\":\"bird\",\"topk\":2,\"data\":{{\"image\":\"{image}\"}}")).unwrap();
    assert_eq!(
        (request.id.as_str(), request.model.as_deref(), request.top_k),
        ("e-1", Some("bird"), Some(2))
    );
    assert_eq!(request.image, b"\x89PNG\r\n\x1a\n");

    let request = read(&format!("\"datacontenttype\":\"image/png\",\"data_base64\":\"{image}\"")).unwrap();
    assert_eq!(request.image, b"\x89PNG\r\n\x1a\n");

    for (rest, words) in [
        ("\"x\":1".to_owned(), "neither data nor data_base64"),
        (
            format!("\"data\":{{\"image\":\"{image}\"}},\"data_base64\":\"{image}\""),
            "both data and data_base64",
        ),
        (
            format!("\"datacontenttype\":\"text/plain\",\"data_base64\":\"{image}\""),
            "needs a datacontenttype",
        ),
    ] {
        let text = read(&rest).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
    let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
    assert!(refusal(&batch, b"[]").contains("cloudevents-batch+json' is not known"));
    assert_eq!(Envelope::read(None, &structured).answer_encoding(b"{}"), Encoding::Json);
}

#[test]
fn a_trace_id_is_taken_from_a_well_formed_traceparent_only() {
    let id = |parent: &str| {
        let trace = TraceContext { parent: Some(parent.to_owned()), ..TraceContext::default() };
        trace.trace_id().map(str::to_owned)
    };
    let good = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(id(&format!("00-{good}-00f067aa0ba902b7-01")).as_deref(), Some(good));
    assert_eq!(id(&format!("01-{good}-00f067aa0ba902b7-01-later")).as_deref(), Some(good));
    for bad in [
        String::new(),
        good.to_owned(),
        format!("00-{good}"),
        format!("00-{}-00f067aa0ba902b7-01", good.to_uppercase()),
        format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        format!("00-{good}-{}-01", "0".repeat(16)),
        format!("ff-{good}-00f067aa0ba902b7-01"),
    ] {
        assert_eq!(id(&bad), None, "{bad}");
    }
}

#[test]
fn an_announcement_holds_for_its_time_to_live() {
    let announcement = common::announcement();
    let after = |seconds| common::time() + jiff::SignedDuration::from_secs(seconds);
    assert!(announcement.is_live(after(30)));
    assert!(!announcement.is_live(after(31)));
    assert!(announcement.is_live(after(-5)), "clocks differ a little between machines");
    assert!(wire::Announcement::decode(b"").is_err());
}

#[test]
fn a_result_is_either_a_success_or_an_error() {
    let mut both: serde_json::Value =
        serde_json::from_slice(&common::success().encode(Encoding::Json)).unwrap();
    both["error"] = serde_json::json!({"code": "INTERNAL", "message": "", "retryable": true});
    let error = Response::decode(&Headers::new(), both.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("a success has a model and no error"), "{error}");
}

#[test]
fn codes_are_spelled_as_grpc_spells_them() {
    for code in ErrorCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.name());
    }
}
