//! Many images at once, their answers as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use wire::Response;

use crate::config::Ask;
use crate::error::ClientError;
use crate::request::Client;

/// The answers to a batch in the order in which they come, each with its image's place in the batch. A [`Stream`], and
/// [`Answers::next`] without one. Dropping it gives up what is still open.
#[derive(Debug)]
pub struct Answers {
    answers: mpsc::Receiver<(usize, Result<Response, ClientError>)>,
    driver: JoinHandle<()>,
}

impl Client {
    /// Sends many images. They are taken from the iterator one by one as places become free, so that no more of them are
    /// in memory than may be open at once; each one's time begins when it is sent. The iterator should not block.
    #[must_use]
    pub fn predict_batch<I>(&self, images: I, ask: Ask) -> Answers
    where
        I: IntoIterator<Item = Vec<u8>>,
        I::IntoIter: Send + 'static,
    {
        let client = self.clone();
        let images = images.into_iter();
        let (sender, answers) = mpsc::channel(64);
        let driver = tokio::spawn(async move {
            // A place is held until the answer is taken: an idle reader stops the sending.
            let places = Arc::new(Semaphore::new(client.max_in_flight().max(1)));
            let mut open = JoinSet::new();
            for (index, image) in images.enumerate() {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let submitted = client.submit(image, &ask).await;
                let sender = sender.clone();
                open.spawn(async move {
                    let answer = match submitted {
                        Ok(ticket) => ticket.answer().await,
                        Err(error) => Err(error),
                    };
                    // A reader that is gone wants no answer.
                    sender.send((index, answer)).await.ok();
                    drop(place);
                });
                while open.try_join_next().is_some() {}
            }
            while open.join_next().await.is_some() {}
        });
        Answers { answers, driver }
    }
}

impl Answers {
    /// The next answer; `None` after the last.
    pub async fn next(&mut self) -> Option<(usize, Result<Response, ClientError>)> {
        self.answers.recv().await
    }
}

impl Stream for Answers {
    type Item = (usize, Result<Response, ClientError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.answers.poll_recv(cx)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
