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
                    value: Some(request.encode(format)),
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
    let any = ReplyPartition::Any;
    assert_eq!(pick(&[], &any), None);
    assert_eq!(pick(&[7], &any), Some(7));
    let picked: std::collections::HashSet<_> = (0..200).map(|_| pick(&[3, 4, 5], &any)).collect();
    assert_eq!(picked, [Some(3), Some(4), Some(5)].into());
}

#[test]
fn a_name_keeps_its_partition_while_that_one_is_there() {
    let names: Vec<_> = (0..200).map(|n| ReplyPartition::OfName(format!("gateway-{n}"))).collect();
    let of = |name, partitions: &[i32]| pick(partitions, name).unwrap();
    let mut used = std::collections::BTreeMap::<_, usize>::new();
    for name in &names {
        let all = of(name, &[0, 1, 2, 3]);
        assert_eq!(of(name, &[3, 1, 0, 2]), all);
        *used.entry(all).or_default() += 1;
        let fewer = of(name, &[0, 1, 2]);
        assert!(all == fewer || all == 3, "only those on the partition that is away move: {name:?}");
    }
    assert!(used.len() == 4 && used.values().all(|&n| n > 25), "{used:?}");
    // By other processes, and after the next release too.
    assert_eq!(of(&ReplyPartition::OfName("gateway-1".into()), &[0, 1, 2, 3]), 1);
}
