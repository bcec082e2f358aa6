//! What the worker says of itself while it runs.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Ready;
use crate::broker;
use crate::health::Health;

/// Between two looks at whether the worker is ready.
const READY_LOOK: Duration = Duration::from_millis(20);
/// The first announcements are waited for that long.
const ANNOUNCED: Duration = Duration::from_secs(5);
/// Between two words about a broker that is away.
const AWAY_WORD: Duration = Duration::from_secs(5);

/// The embedded broker keeps nothing: what nobody has answered when it ends is not forgotten in silence.
pub(super) async fn what_goes_with_the_broker(consumer: ClientConfig, topic: String) {
    let asked = tokio::task::spawn_blocking(move || broker::unanswered(&consumer, &topic)).await;
    match asked {
        Ok(Ok(0)) => {}
        Ok(Ok(requests)) => tracing::warn!(
            requests,
            "the embedded broker ends with this worker, and with it requests that nobody has answered: send them again; a Kafka \
             keeps them"
        ),
        Ok(Err(error)) => {
            tracing::warn!(%error, "requests may be lost with the embedded broker: it does not say")
        }
        // It was interrupted: the runtime ends.
        Err(_) => {}
    }
}

/// Says once that the worker is ready and has announced what it serves, and later every few seconds when the broker is away.
pub(super) async fn when_ready(
    health: Arc<Health>,
    announced: oneshot::Receiver<()>,
    said: Ready,
    ready: impl FnOnce(&Ready),
    end: CancellationToken,
) {
    let until_ready = async {
        // Whoever may not write announcements serves all the same.
        drop(tokio::time::timeout(ANNOUNCED, announced).await);
        while health.ready().is_err() {
            tokio::time::sleep(READY_LOOK).await;
        }
    };
    tokio::select! {
        () = until_ready => ready(&said),
        () = end.cancelled() => return,
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(AWAY_WORD) => {}
            () = end.cancelled() => return,
        }
        if !health.is_connected() {
            tracing::warn!("no Kafka broker answers at {}; trying again", said.bootstrap_servers);
        }
    }
}
