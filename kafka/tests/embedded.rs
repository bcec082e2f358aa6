//! The embedded broker as others rely on it: what it holds, what it forgets, and its faults.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use kafka::embedded::{ApiKey, RespErr};
use kafka::identity::topic_id;
use kafka::{EmbeddedBroker, EmbeddedError, Role, Settings, TopicSpec, ensure, probe};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(60);
/// For a probe that hears no, on a busy machine too. All of it passes.
const LONG_ENOUGH: Duration = Duration::from_millis(4500);

fn config(broker: &EmbeddedBroker, role: Role) -> ClientConfig {
    let mut config = Settings::default().client_config(&broker.broker(), role).unwrap();
    if role == Role::Consumer {
        config.set("group.id", "test");
    }
    config
}

fn send(broker: &EmbeddedBroker, values: &[Vec<u8>]) {
    let producer: BaseProducer = config(broker, Role::Producer).create().unwrap();
    for value in values {
        producer.send(BaseRecord::<(), [u8]>::to("t").partition(0).payload(value)).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
}

/// The lengths of all values on partition 0, from the first that is still there to the end.
fn read(broker: &EmbeddedBroker) -> Vec<usize> {
    let consumer: BaseConsumer = config(broker, Role::Consumer).create().unwrap();
    let (low, high) = consumer.fetch_watermarks("t", 0, PATIENCE).unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset("t", 0, Offset::Offset(low)).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut lengths = Vec::new();
    let end = Instant::now() + PATIENCE;
    while (lengths.len() as i64) < high - low {
        assert!(Instant::now() < end, "{} of {} came", lengths.len(), high - low);
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            lengths.push(message.payload().unwrap().len());
        }
    }
    lengths
}

#[tokio::test]
async fn it_answers_as_the_embedded_broker() {
    let broker = EmbeddedBroker::start(&["t"], 4).unwrap();
    let cluster = probe(&config(&broker, Role::Admin), PATIENCE).await.unwrap();
    assert!(cluster.embedded);
    assert_eq!(cluster.advertised, [broker.bootstrap_servers()]);
    // It knows no request to make a topic: asked to, it would not answer.
    let spec = TopicSpec {
        name: "new".into(),
        partitions: 1,
        replication_factor: 1,
        compacted: false,
        config: [].into(),
    };
    ensure(&config(&broker, Role::Admin), &[spec]).await.unwrap();
}

#[test]
fn partitions_are_as_asked_and_bounded() {
    let broker = EmbeddedBroker::start(&["t"], 3).unwrap();
    broker.create_topic("other", 16).unwrap();
    let consumer: BaseConsumer = config(&broker, Role::Consumer).create().unwrap();
    for (topic, partitions) in [("t", 3), ("other", 16)] {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        assert_eq!(metadata.topics()[0].partitions().len(), partitions);
    }
    for partitions in [0, 17] {
        assert!(matches!(EmbeddedBroker::start(&["t"], partitions), Err(EmbeddedError::Partitions(_))));
    }
}

const MIB: usize = 1 << 20;

/// What the senders' bound of [`kafka::embedded::WINDOW_BYTES`] rests on.
#[test]
fn past_five_mebibytes_the_oldest_of_a_partition_go_in_silence() {
    let broker = EmbeddedBroker::start(&["t"], 1).unwrap();
    send(&broker, &vec![vec![0; MIB]; 4]);
    assert_eq!(read(&broker), vec![MIB; 4], "4 MiB are held");
    send(&broker, &vec![vec![0; MIB]; 4]);
    assert_eq!(read(&broker), vec![MIB; 4], "of 8 MiB the oldest half is gone");
    let large = kafka::embedded::MAX_RECORD_BYTES;
    send(&broker, &[vec![0; large], vec![0; large], vec![0; 1], vec![0; large]]);
    assert_eq!(read(&broker), [large, 1, large], "the newest that fit are there, the largest too");
}

/// Why [`kafka::embedded::MAX_RECORD_BYTES`] is what it is: a larger record can push out all others of its partition, and
/// then is out of reach itself, as is the one that pushes it out. Where a newer librdkafka passes this no more, the
/// bound can go.
#[test]
fn a_record_that_pushes_out_all_others_is_lost_itself_so_producers_refuse_it() {
    let broker = EmbeddedBroker::start(&["t"], 1).unwrap();
    let mut config = config(&broker, Role::Producer);
    let producer: BaseProducer = config.create().unwrap();
    let value = vec![0; 5 * MIB];
    let (error, _) = producer.send(BaseRecord::<(), [u8]>::to("t").partition(0).payload(&value)).unwrap_err();
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));

    send(&broker, &[vec![0; MIB]]);
    let producer: BaseProducer = config.set("message.max.bytes", "12000000").create().unwrap();
    producer.send(BaseRecord::<(), [u8]>::to("t").partition(0).payload(&value)).unwrap();
    producer.flush(PATIENCE).unwrap();
    assert_eq!(read(&broker), [0; 0], "acknowledged, and gone");
}

/// A first member has all; a second one gets its half.
#[test]
fn members_of_a_group_share_the_partitions() {
    let broker = EmbeddedBroker::start(&["t"], 4).unwrap();
    let join = || -> BaseConsumer {
        let mut config = config(&broker, Role::Consumer);
        config.set("session.timeout.ms", "6000");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&["t"]).unwrap();
        consumer
    };
    let wait = |members: &[&BaseConsumer], shares: &[usize]| {
        let end = Instant::now() + PATIENCE;
        loop {
            for member in members {
                member.poll(Duration::from_millis(10));
            }
            let have: Vec<_> = members.iter().map(|m| m.assignment().unwrap().count()).collect();
            if have == shares {
                return;
            }
            assert!(Instant::now() < end, "{have:?}");
        }
    };
    let first = join();
    wait(&[&first], &[4]);
    let second = join();
    wait(&[&first, &second], &[2, 2]);
}

/// Sends one record of so many bytes; the error is librdkafka's, once it has given up.
async fn deliver(producer: &FutureProducer, bytes: usize) -> Result<(), Option<RDKafkaErrorCode>> {
    let value = vec![0; bytes];
    let record = FutureRecord::<(), _>::to("t").partition(0).payload(&value);
    let delivered = tokio::time::timeout(PATIENCE, producer.send(record, PATIENCE)).await.unwrap();
    delivered.map(drop).map_err(|(error, _)| error.rdkafka_error_code())
}

#[tokio::test]
async fn down_it_takes_nothing_and_up_it_still_holds_what_it_held() {
    let broker = EmbeddedBroker::start(&["t"], 1).unwrap();
    send(&broker, &[vec![1; 10]]);
    broker.broker_down().unwrap();
    let mut config = config(&broker, Role::Producer);
    let impatient: FutureProducer = config.set("message.timeout.ms", "1000").create().unwrap();
    assert_eq!(deliver(&impatient, 20).await, Err(Some(RDKafkaErrorCode::MessageTimedOut)));
    broker.broker_up().unwrap();
    send(&broker, &[vec![0; 30]]);
    assert_eq!(read(&broker), [10, 30]);
}

#[tokio::test]
async fn injected_errors_are_answered_and_then_over() {
    let broker = EmbeddedBroker::start(&["t"], 1).unwrap();
    let producer: FutureProducer = config(&broker, Role::Producer).create().unwrap();
    let (passing, final_one) =
        (RespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION);
    broker.request_errors(ApiKey::Produce, &[passing, passing, final_one]).unwrap();
    let refused = Err(Some(RDKafkaErrorCode::PolicyViolation));
    assert_eq!(deliver(&producer, 2).await, refused, "behind two that the producer tries again after");
    assert_eq!(deliver(&producer, 3).await, Ok(()));
    assert_eq!(read(&broker), [3]);
}

/// Else whoever asks would wait in vain.
#[test]
fn it_is_not_asked_which_topic_has_a_name() {
    let broker = EmbeddedBroker::start(&["t"], 1).unwrap();
    let consumer: BaseConsumer = config(&broker, Role::Consumer).create().unwrap();
    assert_eq!(topic_id(consumer.client(), "t", PATIENCE), Ok(None));
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named_in_one_sentence() {
    // Bound and closed again: nobody else has it at once.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = Settings::default()
        .client_config(&kafka::Broker::kafka(format!("127.0.0.1:{port}")), Role::Admin)
        .unwrap();
    let error = probe(&config, LONG_ENOUGH).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("4.5 s"), "{text}");
    assert!(text.contains("refused"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test]
async fn a_name_that_means_nothing_is_said() {
    let config = Settings::default()
        .client_config(&kafka::Broker::kafka("no-such-host.invalid:9092"), Role::Admin)
        .unwrap();
    let text = probe(&config, LONG_ENOUGH).await.unwrap_err().to_string();
    assert!(text.contains("no-such-host.invalid:9092") && text.contains("resolve"), "{text}");
}
