//! The worker as a whole: [`build`] makes everything that can fail before anything runs, [`run`] runs it until the end.

mod say;

use std::net::SocketAddr;
use std::sync::{Arc, Weak, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kafka::{Broker, EmbeddedError, RuntimeDir, SettingsError};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::announce::Announcer;
use crate::book::Book;
use crate::broker::{self, BrokerSource};
use crate::clients;
use crate::config::Config;
use crate::control::{self, Controlled};
use crate::engines::Engines;
use crate::health::{Health, Problem};
use crate::http;
use crate::lane::WeakLanes;
use crate::metrics::Metrics;
use crate::models::{
    Asked, Asking, Catalog, Demand, Follower, Models, ModelsError, Versions, config as models_config,
};
use crate::outbox::{Announcements, KafkaOutbox};
use crate::pipeline::{self, PipelineError};
use crate::review;
use crate::rooms::consume::Shared;
use crate::served::Served;
use crate::snapshots::Publisher;

/// Beyond the grace time, for leaving the group and taking announcements back.
const FAREWELL: Duration = Duration::from_secs(5);

/// A worker that is about to run.
#[derive(Debug)]
pub struct App {
    worker: Worker,
    listener: TcpListener,
}

/// All of it but its listener.
#[derive(Debug)]
struct Worker {
    config: Config,
    models: Models,
    /// Where other versions of them come from; none where there will be no others.
    versions: Option<Arc<dyn Versions>>,
    broker: BrokerSource,
    address: SocketAddr,
    shared: Shared,
    name: String,
    began: Instant,
}

/// Why a worker can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A model can't be served.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// There is no broker, and none can be started.
    #[error(transparent)]
    Broker(#[from] EmbeddedError),
    /// The address for health and metrics is taken.
    #[error("http.listen {address} can't be used: {source}")]
    Listen {
        /// `http.listen`.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Why a worker ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A model can't be loaded.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// A room failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The `kafka` section can't be used with this broker.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// librdkafka refuses the producer.
    #[error("the producer can't be made: {0}")]
    Producer(#[source] KafkaError),
    /// The worker that ran the embedded broker has ended.
    #[error(
        "the embedded broker at {0} is gone, since the worker that ran it has ended: start this one again"
    )]
    BrokerGone(String),
    /// Health and metrics can't be served.
    #[error("health and metrics can't be served: {0}")]
    Http(#[source] std::io::Error),
    /// The grace time was not enough.
    #[error(
        "{0} requests were not answered within shutdown.grace: their offsets are not committed, and Kafka delivers them again"
    )]
    Unanswered(usize),
}

/// What is said when the worker is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// `ready`.
    pub event: &'static str,
    /// The worker's name.
    pub worker: String,
    /// The broker.
    pub bootstrap_servers: String,
    /// Health and metrics.
    pub http: String,
    /// The broker is embedded, in this worker or in another.
    pub embedded: bool,
    /// What is served, each as `bird/1`.
    pub models: Vec<String>,
}

/// Builds a worker from its configuration: model files are checked, a broker is chosen, a port is bound.
///
/// # Errors
/// [`BuildError`], one sentence.
pub async fn build(config: Config) -> Result<App, BuildError> {
    let (section, device, limits) = (config.models.clone(), config.device, config.limits.image());
    let worker = config.worker_name();
    let open = move || -> Result<_, ModelsError> {
        let catalog = Catalog::new(&section, Engines::new(device, limits)?, worker)?;
        Ok((catalog.open_in_time()?, catalog))
    };
    let (models, catalog) = blocking(open).await?;
    let mut app = build_with(config, models, &RuntimeDir::from_env()).await?;
    app.worker.versions = Some(Arc::new(catalog));
    Ok(app)
}

/// As [`build`], with models of one's own, and the embedded broker looked for in that folder.
///
/// # Errors
/// [`BuildError`], one sentence.
pub async fn build_with(config: Config, models: Models, dir: &RuntimeDir) -> Result<App, BuildError> {
    let listen = config.http.listen;
    let refused = |source| BuildError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let broker = BrokerSource::find(&config, dir)?;
    let shared = Shared {
        book: Book::new(config.group.delivery),
        pressure: Arc::default(),
        health: Arc::new(Health::default()),
        metrics: Arc::new(Metrics::default()),
    };
    let (name, began) = (config.worker_name(), Instant::now());
    let worker = Worker { config, models, versions: None, broker, address, shared, name, began };
    Ok(App { worker, listener })
}

async fn load(models: Models, limit: u64) -> Result<Models, ModelsError> {
    blocking(move || models.load(limit)).await
}

/// Reading the models' files takes as long as the disk does.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

impl App {
    /// Where health and metrics are served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.worker.address
    }

    /// Takes a room for stuck after that long at one piece of work.
    #[cfg(test)]
    pub(crate) fn with_patience(mut self, stuck: std::time::Duration) -> Self {
        self.worker.shared.health = Arc::new(Health::with_patience(stuck));
        self
    }

    /// The broker's address.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.worker.broker.broker().bootstrap_servers
    }
}

/// Runs a worker until `end` is cancelled and all that it took is answered. `ready` is called once, when it serves.
///
/// To end at once, drop the future: what was not answered, Kafka delivers again.
///
/// # Errors
/// [`RunError`], one sentence.
pub async fn run(
    app: App,
    end: CancellationToken,
    ready: impl FnOnce(&Ready) + Send + 'static,
) -> Result<(), RunError> {
    let App { worker, listener } = app;
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let Shared { health, metrics, .. } = worker.shared.clone();
    tracing::info!(http = %worker.address, worker = worker.name, "health and metrics");
    let pages = http::serve(listener, health, metrics, over.clone());
    let work = async {
        tokio::select! {
            result = worker.work(&end, ready) => result,
            () = worker.broker.gone() => {
                Err(RunError::BrokerGone(worker.broker.broker().bootstrap_servers))
            }
        }
    };
    tokio::select! {
        result = work => result,
        result = pages => result.map_err(RunError::Http),
    }
}

impl Worker {
    async fn work(
        &self,
        end: &CancellationToken,
        ready: impl FnOnce(&Ready) + Send + 'static,
    ) -> Result<(), RunError> {
        let Self { config, broker, shared, .. } = self;
        let (asking, asked) = std_mpsc::channel();
        let demand = self.demand(&asking);
        let load = async {
            let models = load(self.models.clone(), config.models.memory_bytes).await?;
            for skipped in models.skipped() {
                shared.health.note(Problem::new(skipped.wanted.key(), &skipped.reason));
            }
            let warm = pipeline::warm(config, &models, shared.clone(), demand.clone()).await?;
            Ok::<_, RunError>((models, warm))
        };
        let (models, mut warm) = tokio::select! {
            loaded = load => loaded?,
            () = end.cancelled() => return Ok(()),
        };
        let instances = config.instance_count();
        tracing::info!(models = ?models.iter().collect::<Vec<_>>(), instances, "warm");
        let Some(reached) = broker::reach(config, broker.broker(), end).await? else { return Ok(()) };
        shared.health.set_connected(true);

        let (to_delivered, delivered) = mpsc::unbounded_channel();
        let producer = clients::producer(config, &reached)?;
        let outbox = Arc::new(KafkaOutbox::new(&producer, &to_delivered).map_err(RunError::Producer)?);
        let consumer = clients::consumer(config, &reached)?;
        let (name, to_broker) = (self.name.clone(), Arc::clone(&outbox) as _);
        let lanes = warm.lanes();
        let reviewed = self.review(warm.unsure(), producer, reached.embedded);
        let announcements = Arc::clone(&outbox) as Arc<dyn Announcements>;
        let (out, back) = ((to_broker, Arc::clone(&announcements)), delivered);
        let mut running = warm.open(&consumer, name, out, back, end.clone())?;

        let serving = end.child_token();
        let said = self.ready(&models, &reached);
        let now =
            lanes.upgrade().map_or_else(|| watch::Sender::new(models).subscribe(), |lanes| lanes.watch());
        self.follow(lanes.clone(), demand.map(|demand| Arc::downgrade(&demand)), asked)?;
        // Until this ends, and nobody asks for a version any more.
        let (client, topic) = (control::client(config, &reached)?, config.topics.names.control.clone());
        let controlled = Controlled { lanes, asking };
        control::start(client, topic, controlled, serving.clone()).map_err(PipelineError::from)?;
        let measured = self.measure(Arc::clone(&announcements), now.clone(), &serving);
        let announcer = Announcer::new(announcements, now, self.name.clone(), &config.topics.names);
        let (first, heard) = oneshot::channel();
        let announced = tokio::spawn(announcer.run(first, serving.clone()));
        let ready = say::when_ready(Arc::clone(&shared.health), heard, said, ready, serving.clone());
        let watch = tokio::spawn(ready);

        let result = tokio::select! {
            left = running.wait() => left.map_err(RunError::from),
            () = async {
                end.cancelled().await;
                tokio::time::sleep(config.shutdown.grace + FAREWELL).await;
            } => Ok(shared.book.outstanding().max(1)),
        };
        serving.cancel();
        for said in [Some(announced), measured, Some(watch)].into_iter().flatten() {
            drop(said.await);
        }
        // On its own thread: it waits for the broker.
        let flushed = tokio::task::spawn_blocking(move || {
            outbox.flush(FAREWELL);
            // Closed when they are delivered; where they are not, they are nobody's loss.
            reviewed.map(|over| over.recv_timeout(FAREWELL))
        });
        drop(flushed.await);
        if let BrokerSource::Own(_) = broker {
            say::what_goes_with_the_broker(consumer, config.topics.names.requests.clone()).await;
        }
        match result? {
            0 => {
                tracing::info!("all that was taken is answered and committed");
                Ok(())
            }
            left => Err(RunError::Unanswered(left)),
        }
    }

    /// Has images that a person should look at written to their topic, where there are to be any.
    fn review(
        &self,
        inbox: Option<review::Inbox>,
        client: ClientConfig,
        embedded: bool,
    ) -> Option<std_mpsc::Receiver<()>> {
        let inbox = inbox?;
        if embedded {
            tracing::warn!(
                "no image is kept for review (review.enabled): the embedded broker forgets, and people look later; use a real Kafka"
            );
            return None;
        }
        let setup = review::send::Setup {
            client,
            topic: self.config.topics.names.review.clone(),
            worker: self.name.clone(),
            max_bytes: self.config.review.max_bytes,
            metrics: Arc::clone(&self.shared.metrics),
        };
        let started = review::send::start(inbox, setup, FAREWELL);
        started.inspect_err(|error| tracing::warn!("no image is kept for review: {error}")).ok()
    }

    /// What serves versions that only a request names, where that is allowed.
    fn demand(&self, asking: &Asking) -> Option<Arc<Demand>> {
        let versions = self.versions.clone().filter(|_| self.config.models.on_demand_bytes > 0)?;
        Some(Arc::new(Demand::new(versions, asking.clone())))
    }

    /// Has the lanes follow the versions that are meant and asked for, until nobody is left who could ask.
    fn follow(
        &self,
        lanes: WeakLanes,
        demand: Option<Weak<Demand>>,
        asked: std_mpsc::Receiver<Asked>,
    ) -> Result<(), RunError> {
        let models_config::Models { poll_interval, on_demand_bytes, memory_bytes, .. } = self.config.models;
        let Some(versions) = self.versions.clone() else { return Ok(()) };
        let Shared { health, metrics, .. } = self.shared.clone();
        let follower = Follower::new(versions, lanes, health, metrics).within(memory_bytes);
        let follower = match demand {
            Some(demand) => follower.with_demand(demand, on_demand_bytes),
            None => follower,
        };
        let thread = thread::Builder::new().name("models".to_owned());
        // It may be loading when the worker ends, and is not waited for.
        thread.spawn(move || follower.run(poll_interval, &asked)).map_err(PipelineError::from)?;
        Ok(())
    }

    /// Says each second what was done, until `serving` is over, where that is wanted.
    fn measure(
        &self,
        outbox: Arc<dyn Announcements>,
        models: watch::Receiver<Models>,
        serving: &CancellationToken,
    ) -> Option<JoinHandle<()>> {
        let interval = self.config.metrics.snapshot_interval;
        let publisher = Publisher {
            outbox,
            models,
            shared: self.shared.clone(),
            worker: self.name.clone(),
            topic: self.config.topics.names.snapshots.clone(),
            interval,
            instances: self.config.instance_count(),
            began: self.began,
        };
        (!interval.is_zero()).then(|| tokio::spawn(publisher.run(serving.clone())))
    }

    fn ready(&self, models: &Models, broker: &Broker) -> Ready {
        let name = |model: &Arc<Served>| format!("{}/{}", model.id.name, model.id.version);
        Ready {
            event: "ready",
            worker: self.name.clone(),
            bootstrap_servers: broker.bootstrap_servers.clone(),
            http: self.address.to_string(),
            embedded: broker.embedded,
            models: models.iter().map(name).collect(),
        }
    }
}
