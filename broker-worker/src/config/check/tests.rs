//! Each rule is broken once.

use super::*;

#[test]
fn the_defaults_hold() {
    Config::default().validate().unwrap();
}

#[test]
fn each_rule_names_the_keys_that_break_it() {
    let cases = [
        ("batching: {max_batch_size: 0}", "batching.max_batch_size is 0"),
        ("batching: {max_batch_size: 8, preferred_batch_size: [4, 16]}", "holds 16"),
        ("batching: {max_batch_size: 300}", "no batch would ever be full"),
        ("queue: {max_queue_size: 128}", "no request would ever be refused"),
        ("queue: {backpressure: {low_requests: 128}}", "low_requests, 128, must be below"),
        ("queue: {backpressure: {low_bytes: 67108864}}", "low_bytes, 67108864, must be below"),
        ("queue: {priority_levels: 3, default_priority_level: 4}", "from 1 to queue.priority_levels, 3"),
        ("group: {id: ' '}", "group.id is empty"),
        ("group: {drain_timeout: 10s}", "group.drain_timeout, 10s, must be below group.session_timeout, 10s"),
        ("group: {session_timeout: 10min, drain_timeout: 1s}", "must not be above max.poll.interval.ms, 5m"),
        ("shutdown: {grace: 5min}", "shutdown.grace, 5m, must be below"),
        ("kafka: {consumer: {max.poll.interval.ms: '15000'}}", "shutdown.grace, 20s, must be below"),
        ("shutdown: {grace: 0s}", "shutdown.grace is 0"),
        ("top_k: 0", "top_k is 0"),
        ("instances: 0", "instances is 0"),
        ("instances: 513", "instances, 513, must be 512 or fewer"),
        ("decode_threads: 100000", "decode_threads, 100000, must be"),
        ("limits: {max_image_width: 0}", "limits.max_image_width is 0"),
        ("limits: {max_image_height: 0}", "limits.max_image_height is 0"),
        ("limits: {max_image_alloc_bytes: 0}", "limits.max_image_alloc_bytes is 0"),
        ("topics: {requests: ''}", "topics.requests, '', is no name"),
        ("topics: {results: 'a b'}", "topics.results, 'a b', is no name"),
        ("topics: {dead_letter: ..}", "topics.dead_letter, '..', is no name"),
        ("topics: {models: 'caf\u{e9}'}", "topics.models, 'caf\u{e9}', is no name"),
        ("kafka: {producer: {acks: '1'}}", "acks is 1, and must be all"),
        ("kafka: {common: {request.required.acks: '0'}}", "request.required.acks is 0, and must be all"),
        ("kafka: {producer: {enable.idempotence: 'false'}}", "enable.idempotence is false"),
        ("kafka: {producer: {delivery.report.only.error: 'true'}}", "delivery.report.only.error"),
        (
            "kafka: {producer: {queue.buffering.max.kbytes: '1024'}}",
            "queue.buffering.max.kbytes is 1024, and must be 11783 or more",
        ),
        ("kafka: {consumer: {auto.offset.reset: latest}}", "auto.offset.reset is latest"),
        ("kafka: {common: {auto.offset.reset: error}}", "auto.offset.reset is error"),
        ("kafka: {consumer: {auto.commit.interval.ms: '5'}}", "auto.commit.interval.ms has no effect"),
        ("limits: {max_request_bytes: 99999999}", "limits.max_request_bytes"),
        ("topics: {results: predict.requests}", "predict.requests is named twice"),
        ("topics: {partitions: 0}", "topics.partitions, 0, must be"),
        ("name: a/b", "name must not"),
        ("log: {level: 'nonsense=;='}", "log.level"),
        ("kafka: {sasl_username: me, common: {sasl.username: me}}", "are the same setting"),
        ("kafka: {common: {no.such.key: 1}}", "no.such.key"),
    ];
    for (text, expected) in cases {
        let config: Config = serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let error = config.validate().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

#[test]
fn what_is_set_as_it_is_anyway_or_safely_is_taken() {
    for text in [
        "kafka: {producer: {acks: all, enable.idempotence: 'true', queue.buffering.max.kbytes: '11783'}}",
        "kafka: {common: {acks: '-1'}, consumer: {auto.offset.reset: earliest}}",
        "topics: {requests: A.b_c-9}",
        "{instances: 512, decode_threads: 512}",
    ] {
        let config: Config = serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        config.validate().unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}
