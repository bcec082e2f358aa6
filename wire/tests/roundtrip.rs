//! Any request and any result comes back from each encoding as it went in.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what failed by panicking.

use jiff::Timestamp;
use proptest::prelude::*;
use wire::{
    Encoding, Envelope, ErrorCode, ErrorReply, Headers, ModelId, Outcome, Prediction, ReplyTo, Request,
    Response, Success, Timings, TraceContext,
};

fn text() -> impl Strategy<Value = String> {
    "\\PC{1,60}"
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(), 0..1_000_000_000i32)
        .prop_map(|(s, ns)| Timestamp::new(s, ns).unwrap_or(Timestamp::MAX))
}

prop_compose! {
    fn request()(
        id in text(),
        model in proptest::option::of(text()),
        model_version in any::<Option<u32>>(),
        top_k in any::<Option<u32>>(),
        deadline in proptest::option::of(timestamp()),
        timeout_ms in any::<Option<u64>>(),
        priority in any::<Option<u32>>(),
        image in proptest::collection::vec(any::<u8>(), 1..2000),
    ) -> Request<'static> {
        Request { id, model, model_version, top_k, deadline, timeout_ms, priority, image: image.into() }
    }
}

prop_compose! {
    fn reply_to()(
        topic in proptest::option::of("[a-zA-Z0-9_-]{1,249}"),
        partition in proptest::option::of(0..=i32::MAX),
        correlation_id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64)),
    ) -> ReplyTo {
        ReplyTo { topic, partition, correlation_id }
    }
}

prop_compose! {
    fn trace()(
        parent in proptest::option::of(text()),
        state in proptest::option::of(text()),
        baggage in proptest::option::of(text()),
    ) -> TraceContext {
        TraceContext { parent, state, baggage }
    }
}

prop_compose! {
    fn prediction()(label in text(), index in any::<Option<u32>>(), probability in 0.0..=1.0f32) -> Prediction {
        Prediction { label, index, probability }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let success = (text(), any::<u32>(), text(), proptest::collection::vec(prediction(), 0..8), any::<u32>())
        .prop_map(|(name, version, digest, predictions, batch_size)| {
            Outcome::Success(Success { model: ModelId { name, version, digest }, predictions, batch_size })
        });
    // Codes that are not known come back too: by name from JSON, by number from bincode, as `CODE_9` from both.
    let unknown = (7..u32::MAX).prop_map(|n| serde_json::from_value(format!("CODE_{n}").into()).unwrap());
    let code = prop_oneof![proptest::sample::select(ErrorCode::ALL.to_vec()), unknown];
    let error = (code, text(), any::<bool>())
        .prop_map(|(code, message, retryable)| Outcome::Error(ErrorReply { code, message, retryable }));
    prop_oneof![success, error]
}

prop_compose! {
    fn response()(
        request_id in text(),
        outcome in outcome(),
        (decode, queue, inference, total) in any::<(u64, u64, u64, u64)>(),
        worker in text(),
    ) -> Response {
        Response { request_id, outcome, timings: Timings { decode, queue, inference, total }, worker }
    }
}

proptest! {
    #[test]
    fn a_request_comes_back(
        request in request(),
        reply_to in reply_to(),
        trace in trace(),
        time in timestamp(),
        encoding in proptest::sample::select(Encoding::ALL.to_vec()),
    ) {
        let mut headers = request.headers(encoding, "/test", time, &reply_to, &trace);
        // Random bytes name no image type, so the record is looked at; said outright, it need not be.
        if encoding == Encoding::Raw {
            headers.push("content-type", "image/png");
        }
        let envelope = Envelope::read(None, &headers);
        prop_assert_eq!(&envelope.defect, &None);
        prop_assert_eq!(&envelope.reply_to, &reply_to);
        prop_assert_eq!(&envelope.trace, &trace);
        let value = request.encode(encoding);
        prop_assert_eq!(Request::decode(&envelope, &value, usize::MAX).unwrap(), request);
    }

    #[test]
    fn bincode_and_json_need_no_header(
        request in request(),
        encoding in proptest::sample::select(vec![Encoding::Bincode, Encoding::Json]),
    ) {
        let envelope = Envelope::read(None, &Headers::new());
        let value = request.encode(encoding);
        let bare = Request { timeout_ms: None, ..request };
        prop_assert_eq!(Request::decode(&envelope, &value, usize::MAX).unwrap(), bare);
    }

    #[test]
    fn a_result_comes_back(
        response in response(),
        reply_to in reply_to(),
        trace in trace(),
        encoding in proptest::sample::select(vec![Encoding::Bincode, Encoding::Json]),
    ) {
        let headers = response.headers(encoding, Timestamp::UNIX_EPOCH, &reply_to, &trace);
        prop_assert_eq!(headers.get("kafka_correlationId"), reply_to.correlation_id.as_deref());
        let value = response.encode(encoding);
        prop_assert_eq!(&Response::decode(&headers, &value).unwrap(), &response);
        prop_assert_eq!(&Response::decode(&Headers::new(), &value).unwrap(), &response);
    }

    #[test]
    fn an_encoding_is_spelled_as_it_is_read(encoding in proptest::sample::select(Encoding::ALL.to_vec())) {
        prop_assert_eq!(encoding.to_string().parse::<Encoding>(), Ok(encoding));
    }
}
