//! The connection to the workers: made, watched, and made anew where a worker's embedded broker has gone and another has come.
//! A broker that does not answer is waited for; why it is waited for stands in [`Health`].

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use client::{Client, ClientConfig, ClientError, Results, Watch, World};
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::problem::Problem;

/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two looks whether the embedded broker is still the same.
const LOOK: Duration = Duration::from_secs(1);
/// How long the end may wait for what was sent to be taken.
const FAREWELL: Duration = Duration::from_secs(5);

/// The connection, where there is one.
#[derive(Debug)]
pub struct Backend {
    config: ClientConfig,
    looks: usize,
    health: Arc<Health>,
    connected: RwLock<Option<Arc<Connected>>>,
}

#[derive(Debug)]
struct Connected {
    client: Client,
    results: Results,
    watch: Watch,
}

impl Backend {
    /// Not connected yet; `looks` is how many answers are looked up at once.
    #[must_use]
    pub fn new(config: ClientConfig, looks: usize, health: Arc<Health>) -> Self {
        Self { config, looks, health, connected: RwLock::new(None) }
    }

    /// What requests are sent with.
    ///
    /// # Errors
    /// Where there is no connection, why.
    pub fn client(&self) -> Result<Client, Problem> {
        Ok(self.connected()?.client.clone())
    }

    /// What answers are looked up with.
    ///
    /// # Errors
    /// Where there is no connection, why.
    pub fn results(&self) -> Result<Results, Problem> {
        Ok(self.connected()?.results.clone())
    }

    /// What is known of the workers.
    ///
    /// # Errors
    /// Where there is no connection, why.
    pub fn world(&self) -> Result<Arc<World>, Problem> {
        Ok(self.connected()?.watch.world())
    }

    /// Tells whenever more is known of them.
    ///
    /// # Errors
    /// Where there is no connection, why.
    pub fn subscribe(&self) -> Result<tokio::sync::watch::Receiver<Arc<World>>, Problem> {
        Ok(self.connected()?.watch.subscribe())
    }

    fn connected(&self) -> Result<Arc<Connected>, Problem> {
        let connected = self.connected.read().unwrap_or_else(PoisonError::into_inner).clone();
        connected.ok_or_else(|| {
            Problem::unavailable(self.health.fault().unwrap_or_else(|| "no broker is connected".to_owned()))
        })
    }

    /// Connects and keeps connected until the token is cancelled.
    pub async fn run(&self, end: CancellationToken) {
        while !end.is_cancelled() {
            let connecting = async {
                match self.connect().await {
                    Ok(connected) => Some(connected),
                    Err(error) => {
                        self.health.set_broker(Some(sentence(&error)));
                        tokio::time::sleep(AGAIN).await;
                        None
                    }
                }
            };
            let connected = tokio::select! {
                connected = connecting => connected,
                () = end.cancelled() => return,
            };
            let Some(connected) = connected else { continue };
            self.hold(connected, &end).await;
        }
    }

    async fn connect(&self) -> Result<Connected, ClientError> {
        let client = Client::connect(self.config.clone()).await?;
        let results = Results::connect(&self.config, self.looks).await?;
        let watch = Watch::open(&self.config).await?;
        Ok(Connected { client, results, watch })
    }

    /// Until it is of no use any more.
    async fn hold(&self, connected: Connected, end: &CancellationToken) {
        let client = connected.client.clone();
        let mut world = connected.watch.subscribe();
        tracing::info!(
            broker = client.broker().bootstrap_servers,
            embedded = client.broker().embedded,
            reply_partition = client.reply_partition(),
            "connected"
        );
        self.set(Some(Arc::new(connected)));
        loop {
            let fault = world.borrow_and_update().fault.as_ref().map(sentence);
            self.health.set_broker(fault);
            tokio::select! {
                known = world.changed() => if known.is_err() { break },
                () = tokio::time::sleep(LOOK) => if !client.is_current() { break },
                () = end.cancelled() => break,
            }
        }
        self.set(None);
        if end.is_cancelled() {
            // What was sent and not waited for is on its way yet.
            drop(tokio::time::timeout(FAREWELL, client.close()).await);
            return;
        }
        self.health.set_broker(Some("the worker that ran the embedded broker has ended".to_owned()));
        // Whoever waits on it is told.
        tokio::spawn(async move { client.close().await });
    }

    fn set(&self, connected: Option<Arc<Connected>>) {
        *self.connected.write().unwrap_or_else(PoisonError::into_inner) = connected;
    }
}

fn sentence(error: &ClientError) -> String {
    match error {
        ClientError::NoBroker { .. } => {
            format!("{error}: start `worker`, or give --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS")
        }
        error => cli::sentence(error),
    }
}
