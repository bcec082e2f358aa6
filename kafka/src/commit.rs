//! Positions in a topic, and a commit of them that nobody waits for and that says what became of it: rdkafka's own asynchronous one says
//! nothing.

use std::ptr;

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

/// Partitions of a topic, each with an offset, as librdkafka takes them.
///
/// # Errors
/// librdkafka's, at an offset that is none.
pub fn positions(topic: &str, each: &[(i32, i64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(each.len());
    for &(partition, offset) in each {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}

/// Begins to commit these offsets. The consumer's context hears in a later poll, as `commit_callback`, what the broker says.
///
/// # Errors
/// librdkafka's, where the consumer has no group; nothing follows then.
#[allow(unsafe_code)]
pub fn begin_commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: the consumer is alive, and librdkafka counts the references to its queue: this one is given back below.
    let queue = unsafe { bindings::rd_kafka_queue_get_consumer(client) };
    if queue.is_null() {
        return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownGroup));
    }
    // SAFETY: all three are alive; the offsets are copied, and the answer is an event on the queue that poll reads.
    let begun = unsafe {
        let begun = bindings::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut());
        bindings::rd_kafka_queue_destroy(queue);
        begun
    };
    match RDKafkaErrorCode::from(begun) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(KafkaError::ConsumerCommit(code)),
    }
}
