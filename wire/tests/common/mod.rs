//! What the golden tests share: the values themselves, and headers as text.
#![allow(dead_code)] // Each test file takes what it needs.

use jiff::Timestamp;
use wire::{
    Action, Announcement, Comparison, Control, Counts, ErrorCode, ErrorReply, Headers, Histogram, KeyRecord,
    Label, Labelled, ModelFigures, ModelId, Outcome, Prediction, ReplyTo, Request, Response, Review, Rooms,
    Scope, Snapshot, Success, Timings, TraceContext, Verdict, Why, WorkerState,
};

/// A PNG of one grey pixel.
pub(crate) const PIXEL_PNG: [u8; 67] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00,
    0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81,
    0xda, 0x45, 0x08, 0x3b, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

pub(crate) fn time() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub(crate) fn digest() -> String {
    format!("sha256:{}", "0123456789abcdef".repeat(4))
}

pub(crate) fn small_request() -> Request<'static> {
    Request {
        id: "r-1".to_owned(),
        model: None,
        model_version: None,
        top_k: None,
        deadline: None,
        timeout_ms: None,
        priority: None,
        image: PIXEL_PNG.to_vec().into(),
    }
}

pub(crate) fn full_request() -> Request<'static> {
    Request {
        id: "019b7c9e-2d5a-7c31-8a57-5f0c1c6b2a10".to_owned(),
        model: Some("bird".to_owned()),
        model_version: Some(1),
        top_k: Some(3),
        deadline: Some("2026-01-02T03:04:35.5Z".parse().unwrap()),
        timeout_ms: Some(30_500),
        priority: Some(300),
        image: PIXEL_PNG.to_vec().into(),
    }
}

pub(crate) fn reply_to() -> ReplyTo {
    ReplyTo {
        topic: Some("my.answers".to_owned()),
        partition: Some(2),
        correlation_id: Some((0xf0..=0xff).collect()),
    }
}

pub(crate) fn trace() -> TraceContext {
    TraceContext {
        parent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        state: Some("rojo=00f067aa0ba902b7".to_owned()),
        baggage: Some("user=7".to_owned()),
    }
}

pub(crate) fn success() -> Response {
    Response {
        request_id: "r-1".to_owned(),
        outcome: Outcome::Success(Success {
            model: ModelId { name: "fashion-mnist".to_owned(), version: 1, digest: digest() },
            predictions: vec![
                Prediction { label: "Sandal".to_owned(), index: Some(5), probability: 0.9 },
                Prediction { label: "Sneaker".to_owned(), index: Some(7), probability: 0.0625 },
            ],
            batch_size: 8,
        }),
        timings: Timings { decode: 120, queue: 300, inference: 70_000, total: 70_500 },
        worker: "worker-1".to_owned(),
    }
}

pub(crate) fn not_a_bird() -> Response {
    Response {
        request_id: "r-1".to_owned(),
        outcome: Outcome::Success(Success {
            model: ModelId { name: "bird".to_owned(), version: 1, digest: digest() },
            predictions: vec![Prediction { label: "not a bird".to_owned(), index: None, probability: 0.75 }],
            batch_size: 1,
        }),
        timings: Timings { decode: 3_000, queue: 250, inference: 21_000, total: 24_300 },
        worker: "worker-1".to_owned(),
    }
}

pub(crate) fn error() -> Response {
    Response {
        request_id: "r-1".to_owned(),
        outcome: Outcome::Error(ErrorReply::new(
            ErrorCode::NotFound,
            "model 'cat' is not served here: ask for bird or fashion-mnist",
        )),
        timings: Timings { decode: 40, queue: 0, inference: 0, total: 55 },
        worker: "worker-1".to_owned(),
    }
}

pub(crate) fn announcement() -> Announcement {
    Announcement {
        worker: "worker-1".to_owned(),
        requests_topic: "predict.requests".to_owned(),
        model: "fashion-mnist".to_owned(),
        version: 1,
        digest: digest(),
        architecture: "fashion-cnn".to_owned(),
        labels: 10,
        default: true,
        loading: false,
        memory_bytes: None,
        traffic_percent: None,
        shadow_percent: None,
        announced_at: time(),
        ttl_s: 30,
        skipped: Vec::new(),
    }
}

pub(crate) fn comparison() -> Comparison {
    let labelled = |version, first: &str, index| Labelled {
        model: ModelId { name: "fashion-mnist".to_owned(), version, digest: digest() },
        predictions: vec![
            Prediction { label: first.to_owned(), index: Some(index), probability: 0.75 },
            Prediction { label: "Coat".to_owned(), index: Some(4), probability: 0.125 },
        ],
    };
    Comparison {
        request_id: "r-1".to_owned(),
        answer: labelled(1, "Shirt", 6),
        shadow: labelled(2, "Pullover", 2),
        agree: false,
        worker: "worker-1".to_owned(),
        computed_at: time(),
    }
}

pub(crate) fn review() -> Review {
    let prediction =
        |label: &str, index, probability| Prediction { label: label.to_owned(), index, probability };
    Review {
        request_id: "r-1".to_owned(),
        image: digest(),
        model: ModelId { name: "fashion-mnist".to_owned(), version: 1, digest: digest() },
        predictions: vec![prediction("Shirt", Some(6), 0.5), prediction("Coat", Some(4), 0.4375)],
        why: Why::Margin,
        worker: "worker-1".to_owned(),
        computed_at: time(),
    }
}

pub(crate) fn label() -> Label {
    Label {
        image: digest(),
        model: "fashion-mnist".to_owned(),
        verdict: Verdict::Corrected,
        label: Some("Coat".to_owned()),
        predicted: Some("Shirt".to_owned()),
        version: Some(1),
        by: "ada".to_owned(),
        at: time(),
    }
}

pub(crate) fn control() -> Control {
    Control {
        action: Action::Load,
        model: Some("bird".to_owned()),
        version: Some(4),
        at: time(),
        by: "ada@desk".to_owned(),
    }
}

pub(crate) fn key() -> KeyRecord {
    KeyRecord {
        id: "3f9a1c2b4d5e".to_owned(),
        name: "camera at the feeder".to_owned(),
        digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned(),
        scopes: vec![Scope::Predict, Scope::Read],
        models: Some(vec!["bird".to_owned()]),
        rate: Some(5),
        burst: Some(20),
        created_at: time(),
        created_by: "ada@desk".to_owned(),
        expires_at: Some("2027-01-02T03:04:05Z".parse().unwrap()),
        revoked_at: None,
        revoked_by: None,
    }
}

pub(crate) fn snapshot() -> Snapshot {
    let bird = Counts {
        answered: 12,
        errors: [("INVALID_ARGUMENT".to_owned(), 1)].into(),
        images: 12,
        batches: 3,
        latency: Histogram::from(vec![(104, 4), (105, 7), (112, 1)]),
        rooms_us: Rooms { decode: 31_200, queue: 240_100, infer: 96_400, respond: 8_700 },
    };
    Snapshot {
        worker: "worker-1".to_owned(),
        at: time(),
        covers_ms: 1_000,
        interval_ms: 1_000,
        uptime_s: 3_725,
        models: vec![
            ModelFigures { model: "bird".to_owned(), version: 2, waiting: 3, counts: bird },
            ModelFigures { model: "fashion-mnist".to_owned(), version: 1, ..ModelFigures::default() },
        ],
        errors: [("NOT_FOUND".to_owned(), 2)].into(),
        dead_letters: 1,
        state: WorkerState {
            partitions: 4,
            lag: Some(17),
            in_flight: 9,
            instances: 2,
            memory_bytes: 412_000_256,
            cpu_ms: 1_870,
            paused: false,
            ends: false,
        },
    }
}

/// One header a line, `name: value`; a value that is not printable ASCII as `0x` and hexadecimal digits.
pub(crate) fn headers_to_text(headers: &Headers) -> String {
    let value = |bytes: &[u8]| {
        if !bytes.is_empty() && bytes.iter().all(|b| (b' '..=b'~').contains(b)) {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            format!("0x{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
        }
    };
    let name = String::from_utf8_lossy;
    headers.iter().map(|(n, v)| format!("{}: {}\n", name(n), v.map_or("null".to_owned(), value))).collect()
}

/// The other way.
pub(crate) fn headers_from_text(text: &str) -> Headers {
    let hex = |digits: &str| -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    };
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("name: value");
            let value = match value.strip_prefix("0x") {
                Some(digits) => Some(hex(digits)),
                None if value == "null" => None,
                None => Some(value.as_bytes().to_vec()),
            };
            (name.as_bytes().to_vec(), value)
        })
        .collect()
}
