//! How a scene's topics are made, and topics beside the four.

use kafka::{TopicSpec, Topics};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::PATIENCE;
use crate::scene::{PARTITIONS, Scene};

/// Kafka's settings of a topic, as `("max.message.bytes", "20000")`.
pub type TopicSettings = &'static [(&'static str, &'static str)];

/// How the topics of a scene are made. Settings are for a real Kafka alone: the embedded broker knows none.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// How many partitions each topic has, the announcements' excepted.
    pub partitions: i32,
    /// Settings of the request topic.
    pub requests: TopicSettings,
    /// Settings of the results topic.
    pub results: TopicSettings,
    /// Settings of the dead-letter topic.
    pub dead_letter: TopicSettings,
}

impl Default for Layout {
    fn default() -> Self {
        Self { partitions: PARTITIONS, requests: &[], results: &[], dead_letter: &[] }
    }
}

impl Layout {
    pub(crate) fn specs(&self, topics: &Topics) -> Vec<TopicSpec> {
        let settings = [self.requests, self.results, self.dead_letter, &[]];
        topics
            .specs(self.partitions, -1)
            .into_iter()
            .zip(settings)
            .map(|(spec, settings)| with(spec, settings))
            .collect()
    }

    pub(crate) fn assert_no_settings(&self) {
        let none = [self.requests, self.results, self.dead_letter].iter().all(|of| of.is_empty());
        assert!(none, "the embedded broker knows no settings of topics: {self:?}");
    }
}

fn with(mut spec: TopicSpec, settings: &[(&str, &str)]) -> TopicSpec {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    spec.config.extend(settings);
    spec
}

impl Scene {
    /// One more topic, for answers.
    ///
    /// # Panics
    /// Where it can't be made.
    #[must_use]
    pub fn reply_topic(&self) -> String {
        self.topic("mine", PARTITIONS, &[])
    }

    /// One more topic, made as the results topic is and then with those settings. Its name ends in `name`.
    ///
    /// # Panics
    /// Where it can't be made, and on the embedded broker where there are settings.
    #[must_use]
    pub fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = format!("{}.{name}", self.topics.results);
        if let Some(broker) = self.embedded.as_ref() {
            assert!(settings.is_empty(), "the embedded broker knows no settings of topics");
            broker.create_topic(&name, partitions).unwrap_or_else(|e| panic!("{e}"));
        } else {
            let [_, results, ..] = self.topics.specs(partitions, -1);
            self.make(&[with(TopicSpec { name: name.clone(), ..results }, settings)]);
        }
        name
    }

    /// Changes settings of a topic that is there. All that are not named go back to their defaults.
    ///
    /// # Panics
    /// Where the broker does not take them.
    pub fn set_topic(&self, topic: &str, settings: &[(&str, &str)]) {
        let config = settings
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |config, (key, value)| {
                config.set(key, value)
            });
        let admin: AdminClient<DefaultClientContext> =
            self.plain_config().create().unwrap_or_else(|e| panic!("no admin client: {e}"));
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let answers = runtime().block_on(admin.alter_configs(&[config], &options));
        let answers = answers.unwrap_or_else(|e| panic!("{topic}: {e}"));
        assert!(answers.iter().all(Result::is_ok), "{topic}: {answers:?}");
    }

    pub(crate) fn make(&self, topics: &[TopicSpec]) {
        runtime().block_on(kafka::ensure(&self.plain_config(), topics)).unwrap_or_else(|e| panic!("{e}"));
    }

    fn plain_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers).set("log_level", "0");
        config
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|e| panic!("no runtime: {e}"))
}
