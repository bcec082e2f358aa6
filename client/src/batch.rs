//! Many images at once, their answers as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use wire::Response;

use crate::error::ClientError;
use crate::options::Options;
use crate::request::Client;

/// The answers to a batch in the order in which they come, each with its image's place in the batch. A [`Stream`], and
/// [`Answers::next`] without one. Dropping it gives up what is still open.
///
/// A panic of whatever yields the images goes on in whoever reads the answers, once those that came are read.
#[derive(Debug)]
pub struct Answers {
    answers: mpsc::Receiver<(usize, Result<Response, ClientError>)>,
    driver: Option<JoinHandle<()>>,
}

impl Client {
    /// Sends many images. They are taken from the stream one by one as places become free, so that no more of them are
    /// in memory than may be open at once; each one's time begins when it is sent, and as many are sent as are answered in
    /// good time ([`Client::submit`]). [`each`] makes a stream of an iterator.
    #[must_use]
    pub fn predict_batch<S>(&self, images: S, options: Options) -> Answers
    where
        S: Stream<Item = Vec<u8>> + Send + 'static,
    {
        let client = self.clone();
        let (sender, answers) = mpsc::channel(64);
        let driver = tokio::spawn(async move {
            // A place is held until the answer is taken: an idle reader stops the sending.
            let places = client.max_in_flight().clamp(1, Semaphore::MAX_PERMITS);
            let places = Arc::new(Semaphore::new(places));
            let mut open = JoinSet::new();
            let mut images = std::pin::pin!(images);
            for index in 0.. {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let next = std::future::poll_fn(|cx| images.as_mut().poll_next(cx));
                let Some(image) = next.await else { break };
                let submitted = client.submit(image, &options).await;
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
        Answers { answers, driver: Some(driver) }
    }
}

/// The items of an iterator, as a stream that is always ready. The iterator should not block.
pub fn each<I>(images: I) -> impl Stream<Item = I::Item> + use<I>
where
    I: IntoIterator,
    I::IntoIter: Unpin,
{
    Each(images.into_iter())
}

struct Each<I>(I);

impl<I: Iterator + Unpin> Stream for Each<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl Answers {
    /// The next answer; `None` after the last.
    ///
    /// # Panics
    /// Where whatever yields the images did.
    pub async fn next(&mut self) -> Option<(usize, Result<Response, ClientError>)> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Answers {
    type Item = (usize, Result<Response, ClientError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(answer) = ready!(self.answers.poll_recv(cx)) {
            return Poll::Ready(Some(answer));
        }
        let Some(driver) = &mut self.driver else { return Poll::Ready(None) };
        let ended = ready!(Pin::new(driver).poll(cx));
        self.driver = None;
        match ended {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Poll::Ready(None),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}
