//! Hears what workers are asked to do beside answering: load a version, let one go, look now which are in service. The topic is read from its
//! beginning, so that a worker which starts later does what those before it were asked. Where it can't be read, all goes on without it.

use std::time::{Duration, Instant};
use std::{io, thread};

use kafka::identity::topic_id;
use kafka::{Broker, Role, SettingsError};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message;
use tokio_util::sync::CancellationToken;
use wire::{Action, Control, ErrorCode};

use crate::config::Config;
use crate::lane::WeakLanes;
use crate::models::{Asked, Asking, Skipped};

/// One poll, and so what a thread needs at most to see that it is to end.
const POLL: Duration = Duration::from_millis(200);
/// How long a question about the topic may take.
const ASK: Duration = Duration::from_secs(5);
/// How long a topic that is not there is let be.
const PAUSE: Duration = Duration::from_secs(10);
/// Between two questions whether it is still the topic that is read.
const LOOK: Duration = Duration::from_secs(5);

/// What librdkafka is given.
///
/// # Errors
/// [`SettingsError`] where the `kafka` section can't be used.
pub fn client(config: &Config, broker: &Broker) -> Result<ClientConfig, SettingsError> {
    let mut client = config.kafka.client_config(broker, Role::Consumer)?;
    // librdkafka wants a name. Nobody joins that group here, and nothing is committed under it.
    client.set("group.id", &config.group.id);
    client.set("enable.auto.commit", "false");
    client.remove("partition.assignment.strategy");
    Ok(client)
}

/// Does what is asked.
pub struct Controlled {
    /// Where a version is loaded as if a request named it.
    pub lanes: WeakLanes,
    /// Where the rest is asked.
    pub asking: Asking,
}

impl Controlled {
    fn hear(&self, control: Control) {
        let Control { action, model, version, by, .. } = control;
        let by = wire::quoted(&by).to_string();
        match (action, model, version) {
            (Action::Load, Some(model), Some(version)) => {
                let Some(lanes) = self.lanes.upgrade() else { return };
                match lanes.find(Some(&model), Some(version), b"") {
                    Ok(_) => tracing::info!(by, "{} {version} is to be loaded", wire::quoted(&model)),
                    Err(reply) => {
                        let quoted = wire::quoted(&model);
                        tracing::warn!(by, "{quoted} {version} can't be loaded: {}", reply.message);
                        // Of others it is said already.
                        if reply.code == ErrorCode::NotFound
                            && let Some(wanted) = lanes.models().on_demand(Some(&model), version)
                        {
                            let reason =
                                format!("{model} {version} was to be loaded: there is no such version");
                            let skipped = Skipped { wanted, version: Some(version), reason };
                            lanes.update(|models| models.with_one_skipped(skipped), None);
                        }
                    }
                }
            }
            (Action::Unload, Some(model), Some(version)) => {
                tracing::info!(by, "{} {version} is to be let go", wire::quoted(&model));
                self.ask(Asked::LetGo(model, version));
            }
            (Action::Refresh, ..) => self.ask(Asked::Look),
            // It may be for newer workers.
            _ => tracing::debug!(?action, by, "a control record that says nothing to this worker"),
        }
    }

    fn ask(&self, asked: Asked) {
        // Nobody hears it where the worker ends.
        drop(self.asking.send(asked));
    }
}

/// Starts the thread that reads the topic until `end`. Nobody waits for it.
///
/// # Errors
/// The system's, where it gives no thread.
pub fn start(
    client: ClientConfig,
    topic: String,
    controlled: Controlled,
    end: CancellationToken,
) -> io::Result<()> {
    let thread = thread::Builder::new().name("control".to_owned());
    thread.spawn(move || run(&client, &topic, &controlled, &end))?;
    Ok(())
}

fn run(client: &ClientConfig, topic: &str, controlled: &Controlled, end: &CancellationToken) {
    let mut said = false;
    while !end.is_cancelled() {
        let why = match read(client, topic, controlled, end) {
            Ok(Left::AtTheEnd) => return,
            Ok(Left::Another) => {
                tracing::info!(
                    topic,
                    "what workers are asked to do is read anew: its topic was deleted and made anew"
                );
                continue;
            }
            Ok(Left::NotThere) => "it is not there".to_owned(),
            Err(error) => kafka::log::words(&error),
        };
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(topic, "what workers are asked to do can't be heard, and is not needed: {why}");
        }
        let until = Instant::now() + PAUSE;
        while Instant::now() < until && !end.is_cancelled() {
            thread::sleep(POLL);
        }
    }
}

/// Why the topic is not read on.
enum Left {
    /// The worker ends.
    AtTheEnd,
    /// There is no such topic.
    NotThere,
    /// Another topic has the name now, which librdkafka takes for the one that is read.
    Another,
}

fn read(
    client: &ClientConfig,
    topic: &str,
    controlled: &Controlled,
    end: &CancellationToken,
) -> KafkaResult<Left> {
    let consumer: BaseConsumer = client.create()?;
    // Asked first: what is read may be a later one, never an earlier.
    let id = topic_id(consumer.client(), topic, ASK).unwrap_or_default();
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let partitions: Vec<_> = metadata.topics().iter().flat_map(|topic| topic.partitions()).collect();
    if partitions.is_empty() {
        return Ok(Left::NotThere);
    }
    let from_the_start: Vec<_> = partitions.iter().map(|partition| (partition.id(), 0)).collect();
    consumer.assign(&kafka::positions(topic, &from_the_start)?)?;
    let mut looked = Instant::now();
    while !end.is_cancelled() {
        match consumer.poll(POLL) {
            Some(Ok(message)) => match message.payload().map(Control::decode) {
                Some(Ok(control)) => controlled.hear(control),
                Some(Err(error)) => {
                    tracing::warn!(%error, offset = message.offset(), topic, "no control record");
                }
                // Taken back.
                None => {}
            },
            // librdkafka goes on by itself.
            Some(Err(error)) => tracing::debug!(%error, topic, "reading what workers are asked to do"),
            None => {}
        }
        if looked.elapsed() >= LOOK {
            // While none has the name, or the broker does not answer, nothing is known anew.
            let now = topic_id(consumer.client(), topic, ASK).unwrap_or_default();
            if now.is_some() && now != id {
                return Ok(Left::Another);
            }
            looked = Instant::now();
        }
    }
    Ok(Left::AtTheEnd)
}
