//! The thread that reads the reply partition and hands each answer to whoever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rdkafka::message::{BorrowedMessage, Message};
use wire::{Headers, Response, header};

use crate::error::ClientError;
use crate::pending::Table;
use crate::reading::{POLL, Reader};

/// Owns the thread; dropping it ends and joins it.
#[derive(Debug)]
pub(crate) struct Replies {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Replies {
    /// Starts reading with a consumer whose partition is assigned.
    pub(crate) fn start(reader: Reader, table: Arc<Table>) -> Result<Self, ClientError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("client-replies".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    match reader.poll(POLL) {
                        Some(Ok(message)) => deliver(&table, &message),
                        // librdkafka goes on by itself; whoever waits has a deadline.
                        Some(Err(error)) => tracing::debug!(%error, "reading replies"),
                        None => {}
                    }
                }
            })
            .map_err(ClientError::kafka)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Tells the thread to end, without waiting for it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::debug!("the thread that reads replies panicked");
        }
    }
}

/// Other clients' replies share the partition, so the id is looked up before the value is decoded.
fn deliver(table: &Table, message: &BorrowedMessage<'_>) {
    let headers: Headers = kafka::from_headers(message.headers()).into_iter().collect();
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
