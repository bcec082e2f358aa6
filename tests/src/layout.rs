//! How a scene's topics are made, and topics beside the four.

use kafka::{TopicSpec, Topics};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::scene::{PARTITIONS, Scene};
use crate::{PATIENCE, wait_until};

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

    /// One more topic of one partition, which only one node has.
    ///
    /// # Panics
    /// Where it can't be made.
    #[must_use]
    pub fn topic_on_one_node(&self, name: &str) -> String {
        let name = format!("{}.{name}", self.topics.results);
        let [_, results, ..] = self.topics.specs(1, 1);
        self.make(&[TopicSpec { name: name.clone(), ..results }]);
        name
    }

    /// Which node leads a topic's first partition, by its number from 0; `None` where none does.
    ///
    /// # Panics
    /// Where there is no such topic.
    #[must_use]
    pub fn leader(&self, topic: &str) -> Option<usize> {
        let consumer: BaseConsumer = self.plain_config().create().unwrap_or_else(|e| panic!("{e}"));
        wait_until(&format!("topic {topic}"), PATIENCE, || {
            let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(|e| e.to_string())?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let leader = found.and_then(|found| found.partitions().first()).ok_or("it has no partition")?;
            Ok(usize::try_from(leader.leader() - 1).ok())
        })
    }

    /// Removes the records of a topic's partition before that offset, as its retention does with old ones.
    ///
    /// # Panics
    /// Where the broker does not.
    pub fn remove_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .unwrap_or_else(|e| panic!("{topic}/{partition}: {e}"));
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let answer = runtime().block_on(self.admin().delete_records(&before, &options));
        let answer = answer.unwrap_or_else(|e| panic!("{topic}/{partition}: {e}"));
        assert!(answer.elements().iter().all(|of| of.error().is_ok()), "{topic}/{partition}: {answer:?}");
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// Where the broker does not.
    pub fn delete_topic(&self, topic: &str) {
        let deleted = runtime().block_on(self.admin().delete_topics(&[topic], &AdminOptions::new()));
        let deleted = deleted.unwrap_or_else(|e| panic!("{topic}: {e}"));
        assert!(deleted.iter().all(Result::is_ok), "{topic}: {deleted:?}");
    }

    /// Makes the request topic anew after it was deleted.
    ///
    /// # Panics
    /// Where it can't be made in time.
    pub fn make_requests_anew(&self, partitions: i32) {
        let [requests, ..] = self.topics.specs(partitions, -1);
        self.make_anew(&requests);
    }

    /// The same of another of its topics, with one partition where that is what it has.
    ///
    /// # Panics
    /// As [`Self::make_requests_anew`]; where it is none of its topics.
    pub fn make_topic_anew(&self, topic: &str) {
        let all = self.topics.specs(1, -1);
        let spec = all.iter().find(|spec| spec.name == topic);
        self.make_anew(spec.unwrap_or_else(|| panic!("{topic} is none of this scene's topics")));
    }

    fn make_anew(&self, spec: &TopicSpec) {
        wait_until("the topic to be made anew", PATIENCE, || self.try_make(std::slice::from_ref(spec)));
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.plain_config().create().unwrap_or_else(|e| panic!("no admin client: {e}"))
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
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let answers = runtime().block_on(self.admin().alter_configs(&[config], &options));
        let answers = answers.unwrap_or_else(|e| panic!("{topic}: {e}"));
        assert!(answers.iter().all(Result::is_ok), "{topic}: {answers:?}");
    }

    pub(crate) fn make(&self, topics: &[TopicSpec]) {
        self.try_make(topics).unwrap_or_else(|e| panic!("{e}"));
    }

    fn try_make(&self, topics: &[TopicSpec]) -> Result<(), String> {
        runtime().block_on(kafka::ensure(&self.plain_config(), topics)).map_err(|e| e.to_string())
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
