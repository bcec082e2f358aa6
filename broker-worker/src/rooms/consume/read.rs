//! From a message of librdkafka's to a record of ours. Nothing that a message holds may end the thread that polls: whoever
//! takes its partitions over would end at the same message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use kafka::from_headers;
use kafka::headers::{HeadersError, Pair};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::time::Instant;
use wire::Headers;

use crate::book::Book;
use crate::parcels::Original;

/// A record that is polled, and that has no ticket yet.
pub(super) struct Polled {
    pub(super) original: Original,
    pub(super) unreadable: Option<String>,
    pub(super) assignment: u64,
    pub(super) arrived: Instant,
}

/// Copies it out of librdkafka's memory.
pub(super) fn read(topic: &Arc<str>, book: &Book, message: &BorrowedMessage<'_>) -> Polled {
    let (headers, unreadable) = guarded(|| from_headers(message));
    let original = Original {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        timestamp: message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
    };
    let assignment = book.assignment(original.partition);
    Polled { original, unreadable, assignment, arrived: Instant::now() }
}

/// A record's headers, and what is wrong where they can't be read.
fn guarded(read: impl FnOnce() -> Result<Vec<Pair>, HeadersError>) -> (Headers, Option<String>) {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(pairs)) => (pairs.into_iter().collect(), None),
        Ok(Err(error)) => (Headers::new(), Some(error.to_string())),
        Err(_) => (Headers::new(), Some("the record's headers can't be read: the reader gave up".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_can_t_be_read_are_said_and_end_nothing() {
        let pair = (b"caf\xe9".to_vec(), Some(b"1".to_vec()));
        let (headers, unreadable) = guarded(|| Ok(vec![pair]));
        assert_eq!((headers.iter().count(), unreadable), (1, None));
        let (headers, unreadable) = guarded(|| panic!("the double's reader panics, as it should"));
        assert!(headers.is_empty());
        assert!(unreadable.unwrap().contains("headers"));
    }
}
