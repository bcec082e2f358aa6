//! Headers go through a broker as they are, those included that no text holds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use kafka::headers::Pair;
use kafka::{EmbeddedBroker, Role, Settings, from_headers, to_headers};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(30);

fn there_and_back(records: &[Vec<Pair>]) -> Vec<Vec<Pair>> {
    let broker = EmbeddedBroker::start(&["t"], 1).unwrap();
    let config = |role| Settings::default().client_config(&broker.broker(), role).unwrap();
    let producer: BaseProducer = config(Role::Producer).create().unwrap();
    for pairs in records {
        let headers = to_headers(pairs.iter().map(|(name, value)| (name.as_slice(), value.as_deref())));
        producer.send(BaseRecord::<(), [u8]>::to("t").payload(b"x").headers(headers)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let consumer: BaseConsumer = config(Role::Consumer).set("group.id", "test").create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let mut read = Vec::new();
    let end = Instant::now() + PATIENCE;
    while read.len() < records.len() {
        assert!(Instant::now() < end, "{} of {} came", read.len(), records.len());
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            read.push(from_headers(&message).unwrap());
        }
    }
    read
}

#[test]
fn order_repeated_names_null_values_and_names_that_are_no_text_are_kept() {
    let pair = |name: &[u8], value: Option<&[u8]>| (name.to_vec(), value.map(<[u8]>::to_vec));
    let records = [
        vec![],
        vec![pair(b"a", Some(b"1")), pair(b"b", None), pair(b"a", Some(b"\xff")), pair(b"c", Some(b""))],
        vec![pair(b"caf\xe9", Some(b"1")), pair(b"", Some(b"no name")), pair(&[0xff; 3000], None)],
        (1..200).map(|i: u8| pair(&[0x80, i], Some(&[i]))).collect(),
    ];
    assert_eq!(there_and_back(&records), records);
}
