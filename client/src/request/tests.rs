use wire::{Encoding, TraceContext};

use super::*;

#[test]
fn the_size_counted_is_not_less_than_the_record() {
    let trace = TraceContext {
        parent: Some("p".repeat(55)),
        state: Some("s".repeat(400)),
        baggage: Some("b".repeat(4000)),
    };
    for format in Encoding::ALL {
        for bytes in [0, 1, 100, 1_000_003] {
            for full in [false, true] {
                let mut request = Request::new(vec![0xff; bytes]);
                let mut options = Options { format, ..Options::default() };
                if full {
                    request.model = Some("m".repeat(200));
                    request.model_version = Some(u32::MAX);
                    request.top_k = Some(u32::MAX);
                    request.priority = Some(u32::MAX);
                    options = Options { model: request.model.clone(), key: Some("k".repeat(300)), ..options };
                    options.trace = trace.clone();
                }
                request.deadline = Some(Timestamp::now());
                request.timeout_ms = Some(u64::MAX);
                let reply_to = ReplyTo {
                    topic: Some("predict.results".to_owned()),
                    partition: Some(i32::MAX),
                    correlation_id: Some(request.id.clone().into_bytes()),
                };
                let headers =
                    request.headers(format, "/mlaas/client", Timestamp::now(), &reply_to, &options.trace);
                let record = Outgoing {
                    id: request.id.clone(),
                    key: options.key.clone().unwrap_or_else(|| request.id.clone()),
                    headers,
                    value: request.encode(format),
                };
                let counted = encoded_size(&request, &options);
                assert!(counted >= record.bytes(), "{format} {bytes}: {counted} < {}", record.bytes());
                assert!(counted <= record.bytes() + 1500, "{format} {bytes}: {counted} is far too much");
            }
        }
    }
}

#[test]
fn a_partition_is_picked_among_those_there_are() {
    assert_eq!(pick(&[]), None);
    assert_eq!(pick(&[7]), Some(7));
    let picked: std::collections::HashSet<_> = (0..200).map(|_| pick(&[3, 4, 5])).collect();
    assert_eq!(picked, [Some(3), Some(4), Some(5)].into());
}
