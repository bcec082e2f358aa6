//! Nothing that a stranger can put into a record makes this side panic, or allocate more than the record is long.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// A test says what failed by panicking.

// A counting allocator is the only way to see what a decoder asks for.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proptest::prelude::*;
use wire::{
    Announcement, Comparison, Control, DecodeError, Encoding, Envelope, Headers, KeyRecord, MAX_VALUE_BYTES,
    Request, Response, Snapshot,
};

struct Counting;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(size: usize) {
    // The thread's cell is gone while the thread ends; nothing is measured then.
    let _gone = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The largest single allocation of this thread during the call.
fn largest_allocation(call: impl FnOnce()) -> usize {
    LARGEST.set(0);
    call();
    LARGEST.get()
}

/// `u32` and larger numbers in bincode's varint form.
fn varint(n: u32) -> Vec<u8> {
    [&[252][..], &n.to_le_bytes()].concat()
}

fn bare() -> Envelope {
    Envelope::read(None, &Headers::new())
}

#[test]
fn a_declared_length_is_not_believed() {
    let nearly_the_cap = varint(u32::try_from(MAX_VALUE_BYTES).unwrap() - 100);
    let values: [(&str, Vec<u8>); 3] = [
        ("id", [&[1, 1][..], &nearly_the_cap, b"abc"].concat()),
        ("deadline", [&[1, 0, 0, 0, 0, 1][..], &nearly_the_cap, b"abc"].concat()),
        ("image", [&[1, 0, 0, 0, 0, 0, 0][..], &nearly_the_cap, b"abc"].concat()),
    ];
    for (field, value) in values {
        let largest = largest_allocation(|| {
            let error = Request::decode(&bare(), &value, usize::MAX).unwrap_err();
            assert!(matches!(error, DecodeError::Malformed { encoding: "bincode", .. }), "{field}: {error}");
        });
        assert!(largest < 4096, "{field}: {largest} bytes were allocated for a value of {}", value.len());
    }

    // A result: status, request_id, no model, then that many predictions.
    let value = [&[1, 0, 1, b'r', 0][..], &varint(1_000_000), b"abc"].concat();
    let largest = largest_allocation(|| {
        Response::decode(&Headers::new(), &value).unwrap_err();
    });
    assert!(largest <= 2 << 20, "{largest} bytes were allocated for a value of {}", value.len());
}

#[test]
fn size_is_checked_before_anything_else() {
    let mut request = Request::new(vec![7; 1000]);
    for encoding in Encoding::ALL {
        let value = request.encode(encoding);
        let headers = request.headers(
            encoding,
            "/test",
            jiff::Timestamp::UNIX_EPOCH,
            &wire::ReplyTo::default(),
            &wire::TraceContext::default(),
        );
        let envelope = Envelope::read(None, &headers);
        assert!(Request::decode(&envelope, &value, value.len()).is_ok(), "{encoding}: the limit itself fits");
        assert_eq!(
            Request::decode(&envelope, &value, value.len() - 1),
            Err(DecodeError::TooLarge { bytes: value.len(), limit: value.len() - 1 }),
            "{encoding}"
        );
    }
    request.image = vec![0; MAX_VALUE_BYTES + 1].into();
    let error = Request::decode(&bare(), &request.image, usize::MAX).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { bytes: MAX_VALUE_BYTES + 1, limit: MAX_VALUE_BYTES });
    assert!(Response::decode(&Headers::new(), &request.image).is_err());
}

#[test]
fn deep_json_is_refused() {
    let deep = format!("{{\"image\":{}", "[".repeat(1_000_000));
    assert!(Request::decode(&bare(), deep.as_bytes(), usize::MAX).is_err());
    assert!(Response::decode(&Headers::new(), deep.as_bytes()).is_err());
}

/// Names that mean something, so that random values reach the parsers behind them.
const NAMES: [&str; 18] = [
    "ce_specversion",
    "ce_type",
    "ce_timeoutms",
    "ce_id",
    "ce_model",
    "ce_modelversion",
    "ce_topk",
    "ce_deadline",
    "ce_priority",
    "content-type",
    "accept",
    "kafka_replyTopic",
    "kafka_replyPartition",
    "kafka_correlationId",
    "traceparent",
    "tracestate",
    "baggage",
    "x-other",
];

fn header_value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        "\\PC{0,40}".prop_map(|text| Some(text.into_bytes())),
        "[0-9]{1,12}".prop_map(|text| Some(text.into_bytes())),
        proptest::sample::select(vec![
            "application/json",
            "application/x-bincode",
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
            "image/png; q=1",
            "*/*",
            ";",
        ])
        .prop_map(|text| Some(text.as_bytes().to_vec())),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    proptest::collection::vec((proptest::sample::select(NAMES.to_vec()), header_value()), 0..8)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        bytes(),
        bytes().prop_map(|tail| [&[1][..], &tail].concat()),
        "\\{[\"a-z_:,0-9\\[\\]{} ]{0,100}\\}".prop_map(String::into_bytes),
        // A whole request with one byte changed.
        (bytes(), any::<proptest::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
            |(image, at, byte, json)| {
                let encoding = if json { Encoding::Json } else { Encoding::Bincode };
                let mut value = Request::new(image).encode(encoding);
                let at = at.index(value.len());
                value[at] = byte;
                value
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_record_panics(key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)), headers in headers(), value in value()) {
        let envelope = Envelope::read(key.as_deref(), &headers);
        let _encoding = envelope.answer_encoding(&value);
        let _trace = envelope.trace.trace_id();
        if let Ok(request) = Request::decode(&envelope, &value, 1 << 20) {
            prop_assert!(!request.id.is_empty());
            prop_assert!(!request.image.is_empty());
        }
        let _result = Response::decode(&headers, &value);
        let _announcement = Announcement::decode(&value);
        let _comparison = Comparison::decode(&value);
        let _control = Control::decode(&value);
        let _key = KeyRecord::decode(&value);
        let _snapshot = Snapshot::decode(&value);
        let _label = wire::Label::decode(&value);
        let _review = wire::Review::decode(&headers);
    }

    #[test]
    fn what_can_be_answered_has_an_address(headers in headers()) {
        // Whatever else is wrong with a record, a readable reply topic and correlation id survive it.
        let mut headers = headers;
        headers.push("kafka_replyTopic", "answers");
        headers.push("kafka_correlationId", vec![0, 1, 2]);
        let envelope = Envelope::read(None, &headers);
        prop_assert_eq!(envelope.reply_to.topic.as_deref(), Some("answers"));
        prop_assert_eq!(envelope.reply_to.correlation_id.as_deref(), Some(&[0, 1, 2][..]));
    }
}
