//! What librdkafka is given for the worker's consumer and producer, on top of the shared settings.

use std::time::Duration;

use kafka::{Broker, Role, SettingsError};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::Config;
use crate::group::Protocol;

/// The consumer's.
///
/// # Errors
/// [`SettingsError`] where the `kafka` section can't be used.
pub fn consumer(config: &Config, broker: &Broker) -> Result<ClientConfig, SettingsError> {
    let mut client = config.kafka.client_config(broker, Role::Consumer)?;
    let group = &config.group;
    client.set("group.id", &group.id);
    if let Some(id) = &group.instance_id {
        client.set("group.instance.id", id);
    }
    // The embedded broker refuses the classic protocol's commits while a group moves, so that a worker which joins or leaves
    // would have everything under way answered twice. KIP-848's it takes at any time.
    match if broker.embedded { Protocol::Consumer } else { group.protocol } {
        Protocol::Classic => {
            let heartbeat = (group.session_timeout / 4).min(Duration::from_secs(3));
            client.set("session.timeout.ms", group.session_timeout.as_millis().to_string());
            unless_given(&mut client, "heartbeat.interval.ms", &heartbeat.as_millis().max(1).to_string());
        }
        Protocol::Consumer => {
            // With KIP-848 all of these are the broker's.
            client.remove("partition.assignment.strategy");
            client.set("group.protocol", "consumer");
        }
    }
    // The consume room commits what is answered, and nothing else does.
    client.set("enable.auto.commit", "false");
    client.set("enable.auto.offset.store", "false");
    unless_given(&mut client, "statistics.interval.ms", "1000");
    // That the group's place is gone from the topic librdkafka says by a warning alone. What else it warns of is logged, or not,
    // as `log.level` says.
    if (client.log_level as i32) < RDKafkaLogLevel::Warning as i32 {
        client.set_log_level(RDKafkaLogLevel::Warning);
    }
    Ok(client)
}

/// The producer's.
///
/// # Errors
/// [`SettingsError`] where the `kafka` section can't be used.
pub fn producer(config: &Config, broker: &Broker) -> Result<ClientConfig, SettingsError> {
    let mut client = config.kafka.client_config(broker, Role::Producer)?;
    let given = |key: &str| config.kafka.producer.contains_key(key) || config.kafka.common.contains_key(key);
    let dead_letter = config.limits.max_request_bytes + kafka::DEAD_LETTER_BYTES;
    if !given("message.max.bytes") && !broker.embedded && dead_letter > kafka::MAX_RECORD_BYTES {
        client.set("message.max.bytes", dead_letter.to_string());
    }
    // A reply topic that does not exist is known not to after that long; the reply then goes elsewhere.
    unless_given(&mut client, "topic.metadata.propagation.max.ms", "5000");
    // The respond room tries again by itself, and says so.
    unless_given(&mut client, "message.timeout.ms", "60000");
    Ok(client)
}

fn unless_given(client: &mut ClientConfig, key: &str, value: &str) {
    if client.get(key).is_none() {
        client.set(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn offsets_are_committed_by_the_worker_alone() {
        let client = consumer(&Config::default(), &Broker::kafka("h:1")).unwrap();
        assert_eq!(client.get("enable.auto.commit"), Some("false"));
        assert_eq!(client.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(client.get("auto.offset.reset"), Some("earliest"));
        assert_eq!(client.get("session.timeout.ms"), Some("10000"));
        assert_eq!(client.get("heartbeat.interval.ms"), Some("2500"));
        assert_eq!(client.get("partition.assignment.strategy"), Some("cooperative-sticky"));
    }

    #[test]
    fn on_the_embedded_broker_the_new_group_protocol_is_used_whatever_is_configured() {
        let client = consumer(&Config::default(), &Broker::embedded("h:1")).unwrap();
        assert_eq!(client.get("group.protocol"), Some("consumer"));
        assert_eq!(client.get("partition.assignment.strategy"), None);
        assert_eq!(client.get("session.timeout.ms"), None);
    }

    #[test]
    fn the_new_group_protocol_leaves_the_broker_its_settings() {
        let client = consumer(&config("group: {protocol: consumer}"), &Broker::kafka("h:1")).unwrap();
        assert_eq!(client.get("group.protocol"), Some("consumer"));
        for key in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
            assert_eq!(client.get(key), None, "{key}");
        }
    }

    #[test]
    fn what_the_user_gives_stands() {
        let config = config(
            "kafka: {consumer: {statistics.interval.ms: '7'}, producer: {message.timeout.ms: '8', message.max.bytes: '9000'}}",
        );
        let broker = Broker::kafka("h:1");
        assert_eq!(consumer(&config, &broker).unwrap().get("statistics.interval.ms"), Some("7"));
        let client = producer(&config, &broker).unwrap();
        assert_eq!(client.get("message.timeout.ms"), Some("8"));
        assert_eq!(client.get("message.max.bytes"), Some("9000"));
    }
}
