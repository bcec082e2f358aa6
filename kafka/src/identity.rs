//! Which topic it is that has a name. One that was deleted and made anew is another, which librdkafka takes for the same: a
//! consumer reads on in it at the offset where it stood in the old one.

use std::ffi::{CString, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use crate::cluster::is_embedded;

/// A topic's own id, which no other topic of its cluster ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicId([i64; 2]);

impl From<[i64; 2]> for TopicId {
    /// By its bits, the more significant ones first.
    fn from(bits: [i64; 2]) -> Self {
        Self(bits)
    }
}

/// Asks the broker for the id of the topic that has that name now, and waits for the answer; `None` where there is no such
/// topic, this user may not know of it, or the broker has no ids. The embedded one is not asked: it does not answer, and has
/// no topic made anew.
///
/// # Errors
/// librdkafka's, where no answer comes within `timeout`.
#[allow(unsafe_code)]
pub fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Option<TopicId>> {
    // No topic has such a name.
    let Ok(name) = CString::new(topic) else { return Ok(None) };
    // It is known since the first metadata came.
    if is_embedded(client.fetch_cluster_id(timeout).as_deref()) {
        return Ok(None);
    }
    let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let client = client.native_ptr();
    // SAFETY: the client is alive; names and options are copied before they are given back, and the queue, which is this
    // question's alone, may go before the answer comes, since librdkafka counts the references to it.
    unsafe {
        let queue = bindings::rd_kafka_queue_new(client);
        let describe = bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = bindings::rd_kafka_AdminOptions_new(client, describe);
        bindings::rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let topics = bindings::rd_kafka_TopicCollection_of_topic_names([name.as_ptr()].as_mut_ptr(), 1);
        bindings::rd_kafka_DescribeTopics(client, topics, options, queue);
        bindings::rd_kafka_TopicCollection_destroy(topics);
        bindings::rd_kafka_AdminOptions_destroy(options);
        let event = bindings::rd_kafka_queue_poll(queue, millis);
        let answer = answer(event);
        if !event.is_null() {
            bindings::rd_kafka_event_destroy(event);
        }
        bindings::rd_kafka_queue_destroy(queue);
        answer
    }
}

/// # Safety
/// The event has to be alive, or null.
#[allow(unsafe_code)]
unsafe fn answer(event: *mut bindings::rd_kafka_event_t) -> KafkaResult<Option<TopicId>> {
    let refused = |code| Err(KafkaError::MetadataFetch(code));
    if event.is_null() {
        return refused(RDKafkaErrorCode::OperationTimedOut);
    }
    // SAFETY: the event is alive, what is read is part of it, and each pointer is looked at before it is followed.
    unsafe {
        match RDKafkaErrorCode::from(bindings::rd_kafka_event_error(event)) {
            RDKafkaErrorCode::NoError => {}
            code => return refused(code),
        }
        let result = bindings::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return refused(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        let topics = bindings::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count == 0 {
            return Ok(None);
        }
        let error = bindings::rd_kafka_TopicDescription_error(*topics);
        let is_wrong = !error.is_null()
            && RDKafkaErrorCode::from(bindings::rd_kafka_error_code(error)) != RDKafkaErrorCode::NoError;
        let id = bindings::rd_kafka_TopicDescription_topic_id(*topics);
        if is_wrong || id.is_null() {
            return Ok(None);
        }
        let id = [
            bindings::rd_kafka_Uuid_most_significant_bits(id),
            bindings::rd_kafka_Uuid_least_significant_bits(id),
        ];
        Ok((id != [0, 0]).then_some(TopicId(id)))
    }
}
