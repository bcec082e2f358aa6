//! The thread that reads the reply partition and hands each answer to whoever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rdkafka::message::{BorrowedMessage, Message};
use wire::{Headers, Response, header};

use crate::error::ClientError;
use crate::pending::Table;
use crate::reading::{self, Reader};
use crate::thread::Thread;

/// Starts reading with a consumer whose partition of that topic is assigned. `unread` says from which offset on answers have
/// not been read yet.
pub(crate) fn start(
    reader: Reader,
    topic: String,
    table: Arc<Table>,
    unread: Arc<AtomicI64>,
) -> Result<Thread, ClientError> {
    Thread::start("client-replies", move |running| {
        while running.go_on() {
            match reader.poll() {
                Some(Ok(message)) => {
                    table.readable();
                    // Before somebody is handed it, who may send the next and ask.
                    unread.store(message.offset() + 1, Ordering::Release);
                    deliver(&table, &message);
                }
                Some(Err(error)) => {
                    let error = reader.fault(&topic, error);
                    if reading::is_final(&error) {
                        table.unreadable(&error);
                    } else {
                        // librdkafka goes on by itself; whoever waits has a time-out.
                        tracing::debug!(%error, "reading replies");
                    }
                }
                None => {}
            }
        }
    })
}

/// Other clients' replies share the partition, so the id is looked up before the value is decoded.
fn deliver(table: &Table, message: &BorrowedMessage<'_>) {
    let headers: Headers = kafka::from_headers(message).unwrap_or_default().into_iter().collect();
    let id = [header::CORRELATION_ID, header::ID]
        .into_iter()
        .filter_map(|name| std::str::from_utf8(headers.get(name)?).ok())
        .find(|id| table.contains(id));
    let named = headers.get(header::CORRELATION_ID).or(headers.get(header::ID)).is_some();
    if id.is_none() && named {
        tracing::trace!(offset = message.offset(), "an answer that nobody here waits for");
        return;
    }
    let decoded = Response::decode(&headers, message.payload().unwrap_or_default());
    match (id, decoded) {
        (Some(id), decoded) => {
            table.answer(id, decoded.map_err(|source| ClientError::BadReply { id: id.to_owned(), source }));
        }
        (None, Ok(response)) => {
            let id = response.request_id.clone();
            table.answer(&id, Ok(response));
        }
        (None, Err(error)) => tracing::debug!(%error, offset = message.offset(), "not an answer"),
    }
}
