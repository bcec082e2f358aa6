//! What a record's key, headers and value mean together, case by case.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what failed by panicking.

mod common;

use common::PIXEL_PNG;
use wire::{
    DecodeError, Encoding, Envelope, ErrorCode, ErrorReply, Headers, Outcome, ReplyTo, Request, Response,
    TraceContext,
};

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).into(), Some(value.as_bytes().to_vec()))).collect()
}

fn decode(key: Option<&[u8]>, headers: &Headers, value: &[u8]) -> Result<Request<'static>, DecodeError> {
    Request::decode(&Envelope::read(key, headers), value, 1 << 20).map(Request::into_owned)
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
    assert_eq!(*request.image, PIXEL_PNG);
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
        ("ce_timeoutms", "9"),
        ("ce_priority", "0"),
    ]);
    let read = decode(None, &over, &value).unwrap();
    request.model = Some("fashion-mnist".to_owned());
    request.model_version = Some(7);
    request.top_k = Some(9);
    request.deadline = Some("2030-01-01T00:00:00Z".parse().unwrap());
    request.timeout_ms = Some(9);
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
    assert_eq!(*request.image, *b"\x89PNG\r\n\x1a\n");

    let request = read(&format!("\"datacontenttype\":\"image/png\",\"data_base64\":\"{image}\"")).unwrap();
    assert_eq!(*request.image, *b"\x89PNG\r\n\x1a\n");

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

#[test]
fn another_version_of_a_record_of_ours_is_refused_by_its_name() {
    let v2 = headers(&[("ce_specversion", "1.0"), ("ce_type", "mlaas.predict.request.v2")]);
    let text = refusal(&v2, &PIXEL_PNG);
    assert_eq!(
        text,
        "ce_type 'mlaas.predict.request.v2' is not known: this side reads mlaas.predict.request.v1"
    );
    let answer = headers(&[("ce_type", "mlaas.predict.result.v1")]);
    assert!(refusal(&answer, &PIXEL_PNG).contains("'mlaas.predict.result.v1' is not known"));
    let old = headers(&[("ce_specversion", "0.3")]);
    assert_eq!(refusal(&old, &PIXEL_PNG), "ce_specversion '0.3' is not known: this side reads 1.0");
    let other = headers(&[("ce_specversion", "1.0"), ("ce_type", "com.example.uploaded")]);
    assert!(decode(None, &other, &PIXEL_PNG).is_ok(), "somebody else's type is nothing to us");

    let result = common::success().encode(Encoding::Json);
    let read = |pairs| Response::decode(&headers(pairs), &result);
    let error = read(&[("ce_type", "mlaas.predict.result.v2")]).unwrap_err();
    assert!(error.to_string().contains("this side reads mlaas.predict.result.v1"), "{error}");
    assert!(read(&[("ce_specversion", "2.0")]).is_err());
    assert!(read(&[("ce_specversion", "1.0"), ("ce_type", "mlaas.predict.result.v1")]).is_ok());
}

#[test]
fn results_are_read_leniently() {
    let mut json: serde_json::Value =
        serde_json::from_slice(&common::error().encode(Encoding::Json)).unwrap();
    json["new"] = serde_json::json!({"of": "tomorrow"});
    json["timings_us"]["network"] = 7.into();
    json["error"]["code"] = "DATA_LOSS".into();
    json["error"]["retryable"] = true.into();
    let read = Response::decode(&Headers::new(), json.to_string().as_bytes()).unwrap();
    let Outcome::Error(error) = &read.outcome else { panic!("{read:?}") };
    assert_eq!((error.code.name(), error.retryable), ("DATA_LOSS", true), "the reply's word, not the code's");
    let again: serde_json::Value = serde_json::from_slice(&read.encode(Encoding::Json)).unwrap();
    assert_eq!(again["error"], json["error"], "it is passed on as it came");

    // In bincode the code of the golden error is the byte behind `error, optional: present`.
    let mut value = common::error().encode(Encoding::Bincode);
    let at = 1 + 1 + 4 + 1 + 1 + 1;
    assert_eq!(value[at], 1, "NOT_FOUND");
    value[at] = 9;
    value.extend(b"fields of tomorrow");
    let read = Response::decode(&Headers::new(), &value).unwrap();
    let Outcome::Error(error) = &read.outcome else { panic!("{read:?}") };
    assert_eq!(error.code.to_string(), "CODE_9");
    assert_eq!(read.encode(Encoding::Bincode), value[..value.len() - 18], "it is passed on as it came");

    for odd in ["", "data_loss", "A B", "A\u{1b}", "X".repeat(41).as_str()] {
        json["error"]["code"] = odd.into();
        let error = Response::decode(&Headers::new(), json.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("not the name of an error code"), "{error}");
    }
}

#[test]
fn a_structured_event_may_write_numbers_as_text() {
    let structured = headers(&[("content-type", "application/cloudevents+json")]);
    let event = |attributes: &str| {
        let event = format!("{{\"id\":\"e-1\",{attributes},\"data\":{{\"image\":\"AA==\"}}}}");
        decode(None, &structured, event.as_bytes())
    };
    for (model_version, top_k, priority, timeout) in
        [("7", "2", "1", "1500"), ("\"7\"", "\"2\"", "\"1\"", "\"1500\"")]
    {
        let request = event(&format!(
            "\"modelversion\":{model_version},\"topk\":{top_k},\"priority\":{priority},\"timeoutms\":{timeout}"
        ))
        .unwrap();
        assert_eq!(
            (request.model_version, request.top_k, request.priority, request.timeout_ms),
            (Some(7), Some(2), Some(1), Some(1500))
        );
    }
    for odd in ["\"two\"", "-1", "\"-1\"", "1.5", "true", "4294967296", "\"4294967296\"", "\"\"", "[]"] {
        let error = event(&format!("\"topk\":{odd}")).unwrap_err().to_string();
        assert!(error.contains("not a JSON CloudEvent"), "{odd}: {error}");
    }
    assert_eq!(event("\"topk\":null").unwrap().top_k, None);
    let error = event("\"type\":\"mlaas.predict.request.v2\"").unwrap_err().to_string();
    assert!(error.contains("ce_type 'mlaas.predict.request.v2'"), "{error}");
    assert!(event("\"specversion\":\"0.3\"").is_err());
}

#[test]
fn a_source_is_a_uri_reference() {
    let mut response = common::success();
    let source = |response: &Response| {
        let headers =
            response.headers(Encoding::Json, common::time(), &ReplyTo::default(), &TraceContext::default());
        String::from_utf8(headers.get("ce_source").unwrap().to_vec()).unwrap()
    };
    assert_eq!(source(&response), "/mlaas/worker/worker-1");
    response.worker = "größe 1/2?#%".to_owned();
    assert_eq!(source(&response), "/mlaas/worker/gr%C3%B6%C3%9Fe%201%2F2%3F%23%25");
    let request = common::small_request().headers(
        Encoding::Raw,
        "https://example.com/a b?c=%20#ü",
        common::time(),
        &ReplyTo::default(),
        &TraceContext::default(),
    );
    assert_eq!(request.get("ce_source"), Some(&b"https://example.com/a%20b?c=%20#%C3%BC"[..]));
}

#[test]
fn the_time_allowed_counts_from_the_record_s_timestamp() {
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let (written, arrived) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:10Z"));
    let mut request = common::small_request();
    assert_eq!(request.expires(Some(written), arrived), None);
    request.deadline = Some(at("2026-01-01T00:00:05Z"));
    assert_eq!(request.expires(Some(written), arrived), request.deadline);
    request.timeout_ms = Some(30_000);
    let expires = request.expires(Some(written), arrived);
    assert_eq!(expires, Some(at("2026-01-01T00:00:30Z")), "it goes before the deadline, which has passed");
    let ahead = at("2026-01-01T01:00:00Z");
    assert_eq!(request.expires(Some(ahead), arrived), Some(at("2026-01-01T00:00:40Z")), "a clock ahead");
    assert_eq!(request.expires(None, arrived), Some(at("2026-01-01T00:00:40Z")), "no timestamp");
    for endless in [u64::MAX, i64::MAX as u64, 1 << 60] {
        request.timeout_ms = Some(endless);
        assert_eq!(request.expires(Some(written), arrived), None, "{endless} ms are no limit");
    }
    for odd in ["-1", "1.5", "30s", "", "18446744073709551616"] {
        let text = refusal(&headers(&[("ce_timeoutms", odd)]), &PIXEL_PNG);
        assert!(text.starts_with("header ce_timeoutms: "), "{text}");
    }
}

#[test]
fn a_stranger_s_words_are_not_repeated_at_length() {
    let long = "ü".repeat(5000);
    let key = format!("{{\"{long}\":1}}");
    for text in [
        refusal(&headers(&[("content-type", &long)]), &PIXEL_PNG),
        refusal(&headers(&[("accept", &long)]), &PIXEL_PNG),
        refusal(&headers(&[("ce_topk", &long)]), &PIXEL_PNG),
        refusal(&headers(&[("ce_deadline", &long)]), &PIXEL_PNG),
        refusal(&headers(&[("kafka_replyTopic", &long)]), &PIXEL_PNG),
        refusal(&headers(&[("ce_type", &format!("mlaas.{long}"))]), &PIXEL_PNG),
        refusal(&headers(&[("ce_specversion", &long)]), &PIXEL_PNG),
        refusal(&Headers::new(), key.as_bytes()),
    ] {
        assert!(text.len() < 450, "{} bytes: {text}", text.len());
    }
}

#[test]
fn an_announcement_of_an_older_worker_skips_nothing() {
    let mut announcement = common::announcement();
    let old = announcement.encode();
    assert!(!String::from_utf8_lossy(&old).contains("skipped"), "unchanged where there is nothing to say");
    assert_eq!(wire::Announcement::decode(&old).unwrap(), announcement);
    announcement.skipped = vec![wire::SkippedModel {
        model: "bird".to_owned(),
        version: None,
        reason: "model.safetensors is missing".to_owned(),
    }];
    assert_eq!(wire::Announcement::decode(&announcement.encode()).unwrap(), announcement);
    let tomorrow = String::from_utf8(old).unwrap().replacen('{', "{\"new\":[1],", 1);
    assert!(wire::Announcement::decode(tomorrow.as_bytes()).is_ok());
}
