//! The names of the topics, and making them on a real Kafka.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};

use crate::cluster;
use crate::log::{LogContext, words};

/// The topics that requests and results travel on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Requests.
    pub requests: String,
    /// Results, where a request names no topic for its own.
    pub results: String,
    /// Requests that can never succeed.
    pub dead_letter: String,
    /// What workers say that they serve; compacted, and what is old deleted.
    pub models: String,
    /// What versions say that compute requests beside those that answer them.
    pub shadow: String,
    /// What workers are asked to do beside answering; compacted.
    pub control: String,
    /// What workers measure of themselves, each second.
    pub snapshots: String,
    /// Images that a person should look at.
    pub review: String,
    /// What people say that these are; compacted.
    pub labels: String,
    /// Who may ask gateways for what; compacted.
    pub keys: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            requests: "predict.requests".to_owned(),
            results: "predict.results".to_owned(),
            dead_letter: "predict.dead-letter".to_owned(),
            models: "predict.models".to_owned(),
            shadow: "predict.shadow".to_owned(),
            control: "predict.control".to_owned(),
            snapshots: "predict.snapshots".to_owned(),
            review: "predict.review".to_owned(),
            labels: "predict.labels".to_owned(),
            keys: "predict.keys".to_owned(),
        }
    }
}

impl Topics {
    /// The keys that set the names in a configuration, in the order of [`Self::names`].
    pub const KEYS: [&'static str; 10] = [
        "requests",
        "results",
        "dead_letter",
        "models",
        "shadow",
        "control",
        "snapshots",
        "review",
        "labels",
        "keys",
    ];

    /// How many of them have to be there, the first ones.
    pub const NEEDED: usize = 4;

    /// The name that such a key sets.
    pub fn name_mut(&mut self, key: &str) -> Option<&mut String> {
        let Self { requests, results, dead_letter, models, shadow, control, snapshots, review, labels, keys } =
            self;
        let names =
            [requests, results, dead_letter, models, shadow, control, snapshots, review, labels, keys];
        Self::KEYS.into_iter().zip(names).find_map(|(known, name)| (known == key).then_some(name))
    }

    /// All of them.
    #[must_use]
    pub fn names(&self) -> [&str; 10] {
        [
            &self.requests,
            &self.results,
            &self.dead_letter,
            &self.models,
            &self.shadow,
            &self.control,
            &self.snapshots,
            &self.review,
            &self.labels,
            &self.keys,
        ]
    }

    /// Sees that Kafka could have topics of these names, and that each is another.
    ///
    /// # Errors
    /// [`TopicNameError`], the first that is wrong.
    pub fn check(&self) -> Result<(), TopicNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        let mut seen = HashSet::new();
        for (key, name) in Self::KEYS.into_iter().zip(self.names()) {
            let possible = (1..=MAX_NAME).contains(&name.len()) && name.chars().all(allowed);
            if !possible || name == "." || name == ".." {
                return Err(TopicNameError::Impossible { key, name: name.to_owned() });
            }
            if !seen.insert(name) {
                return Err(TopicNameError::Twice { name: name.to_owned() });
            }
        }
        Ok(())
    }

    /// How each of them is made: requests and dead letters take images, announcements are compacted and few. Those behind the first
    /// [`NEEDED`](Self::NEEDED) nobody needs who asks.
    #[must_use]
    pub fn specs(&self, partitions: i32, replication_factor: i32) -> [TopicSpec; 10] {
        let spec = |name: &str| TopicSpec {
            name: name.to_owned(),
            partitions,
            replication_factor,
            compacted: false,
            config: BTreeMap::new(),
        };
        let images = |name: &str| TopicSpec {
            config: [("max.message.bytes".to_owned(), crate::TOPIC_MAX_MESSAGE_BYTES.to_string())].into(),
            ..spec(name)
        };
        let table =
            |name: &str| TopicSpec { partitions: 1, compacted: true, config: keep_for_ever(), ..spec(name) };
        let mut requests = images(&self.requests);
        // So that the time that a request allows is counted by the broker's clock, whatever its sender's says.
        requests.config.insert("message.timestamp.type".to_owned(), "LogAppendTime".to_owned());
        [
            requests,
            spec(&self.results),
            images(&self.dead_letter),
            // What is older than a few minutes tells nothing.
            TopicSpec { partitions: 1, compacted: true, config: soon_gone("1800000"), ..spec(&self.models) },
            spec(&self.shadow),
            table(&self.control),
            TopicSpec { partitions: 1, config: soon_gone("3600000"), ..spec(&self.snapshots) },
            TopicSpec { partitions: 1, ..images(&self.review) },
            table(&self.labels),
            table(&self.keys),
        ]
    }
}

/// Gone when it is so many milliseconds old, and some minutes. Only segments that are not written to any more are compacted and
/// deleted, so that they are short.
fn soon_gone(milliseconds: &str) -> BTreeMap<String, String> {
    [("segment.ms", "300000"), ("retention.ms", milliseconds)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The last word about each key stays, however old.
fn keep_for_ever() -> BTreeMap<String, String> {
    [("retention.ms".to_owned(), "-1".to_owned())].into()
}

/// The longest name that Kafka gives a topic.
const MAX_NAME: usize = 249;

/// Why topics can't have these names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// Kafka has no such names.
    #[error(
        "topics.{key}, '{}', is no name that Kafka gives a topic: it takes 1 to {MAX_NAME} letters, digits, '.', '_' and '-'",
        .name.escape_debug()
    )]
    Impossible {
        /// Which of them.
        key: &'static str,
        /// Its name.
        name: String,
    },
    /// Two have one name.
    #[error("topics: {name} is named twice: each must be another")]
    Twice {
        /// The name.
        name: String,
    },
}

/// A topic to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 is the broker's default.
    pub partitions: i32,
    /// On how many brokers each is kept; -1 is the broker's default.
    pub replication_factor: i32,
    /// Of each key only the last record is kept, and that too goes when it is old.
    pub compacted: bool,
    /// Kafka's own settings for it, as `max.message.bytes`.
    pub config: BTreeMap<String, String>,
}

/// Why a topic can't be made.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The cluster can't be asked.
    #[error("the topics can't be listed: {}", words(.0))]
    List(#[source] KafkaError),
    /// The thread that asks it ended.
    #[error("the topics can't be listed: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// The cluster refused.
    #[error(
        "topic {topic} is missing and can't be made: {}; make it by hand, or let this user make topics",
        words(.source)
    )]
    Create {
        /// Which.
        topic: String,
        /// What the broker said.
        source: KafkaError,
    },
}

const TIMEOUT: Duration = Duration::from_secs(15);

/// Makes those topics that are not there. An existing one is left as it is; the embedded broker, which knows no such
/// request, gets its topics when it starts.
///
/// # Errors
/// [`TopicError`] where the cluster can't be asked or refuses.
pub async fn ensure(config: &ClientConfig, specs: &[TopicSpec]) -> Result<(), TopicError> {
    let config = config.clone();
    let (admin, existing) = tokio::task::spawn_blocking(move || {
        let admin: AdminClient<LogContext> = config.create_with_context(LogContext)?;
        let client = admin.inner();
        let metadata = client.fetch_metadata(None, TIMEOUT)?;
        if cluster::is_embedded(client.fetch_cluster_id(TIMEOUT).as_deref()) {
            return Ok((admin, None));
        }
        let names: HashSet<String> = metadata.topics().iter().map(|t| t.name().to_owned()).collect();
        Ok((admin, Some(names)))
    })
    .await?
    .map_err(TopicError::List)?;
    let Some(existing) = existing else { return Ok(()) };

    let missing: Vec<NewTopic<'_>> =
        specs.iter().filter(|spec| !existing.contains(&spec.name)).map(TopicSpec::new_topic).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let answers = admin.create_topics(&missing, &options).await.map_err(|source| TopicError::Create {
        topic: missing.iter().map(|t| t.name).collect::<Vec<_>>().join(", "),
        source,
    })?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(TopicError::Create { topic, source: KafkaError::AdminOp(code) });
            }
        }
    }
    Ok(())
}

impl TopicSpec {
    fn new_topic(&self) -> NewTopic<'_> {
        let replication = TopicReplication::Fixed(self.replication_factor);
        let topic = NewTopic::new(&self.name, self.partitions, replication);
        let topic = if self.compacted { topic.set("cleanup.policy", "compact,delete") } else { topic };
        self.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_serde_s_and_sets_its_own_name() {
        let mut topics = Topics::default();
        for key in Topics::KEYS {
            *topics.name_mut(key).unwrap() = format!("a-{key}");
        }
        let written = serde_yaml::to_value(&topics).unwrap();
        let expected = Topics::KEYS.map(|key| (key.to_owned(), format!("a-{key}")));
        assert_eq!(written, serde_yaml::to_value(BTreeMap::from(expected.clone())).unwrap());
        assert_eq!(topics.names(), expected.each_ref().map(|(_, name)| name.as_str()));
        assert!(topics.name_mut("partitions").is_none());
    }
}
