//! A file on its way from an object store to this machine.

use std::io;
use std::path::Path;
use std::sync::mpsc;

use futures_util::StreamExt as _;
use object_store::{Error, GetResult};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

/// Whose fault it was.
pub(super) enum Failed {
    /// This machine's.
    Here(io::Error),
    /// The store's.
    There(Error),
}

/// Adds what comes to the file at `path`, and tells how many bytes have come. They stay there, whatever becomes of those behind them.
pub(super) fn append(
    runtime: &Runtime,
    found: GetResult,
    path: &Path,
    progress: &dyn Fn(u64),
) -> Result<(), Failed> {
    let (told, steps) = mpsc::channel();
    let path = path.to_owned();
    let work = async move {
        let file = tokio::fs::File::options().create(true).append(true).open(&path).await;
        let mut file = file.map_err(Failed::Here)?;
        let (mut chunks, mut written) = (found.into_stream(), 0);
        let copied = loop {
            match chunks.next().await.transpose() {
                Ok(None) => break Ok(()),
                Ok(Some(chunk)) => {
                    file.write_all(&chunk).await.map_err(Failed::Here)?;
                    written += chunk.len() as u64;
                    // Whoever waits is there until this ends.
                    told.send(written).ok();
                }
                Err(error) => break Err(Failed::There(error)),
            }
        };
        file.flush().await.map_err(Failed::Here)?;
        copied
    };
    let (done, answer) = mpsc::sync_channel(1);
    runtime.spawn(async move { drop(done.send(work.await)) });
    // Until the work has ended.
    steps.iter().for_each(progress);
    answer.recv().unwrap_or_else(|gone| Err(Failed::Here(io::Error::other(gone))))
}
