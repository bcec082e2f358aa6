//! What the `kafka` section of a configuration file turns into.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use kafka::{Broker, Role, Settings, SettingsError};

const ROLES: [Role; 3] = [Role::Consumer, Role::Producer, Role::Admin];

fn settings(yaml: &str) -> Settings {
    serde_yaml::from_str(yaml).expect("the settings are read")
}

#[test]
fn every_default_is_known_to_librdkafka_and_consistent() {
    for broker in [Broker::kafka("a:1"), Broker::embedded("a:1")] {
        for role in ROLES {
            let config = Settings::default().client_config(&broker, role).expect("the defaults are taken");
            assert_eq!(config.get("bootstrap.servers"), Some("a:1"));
            match role {
                Role::Consumer => {
                    let mut config = config;
                    config.set("group.id", "g");
                    config.create::<rdkafka::consumer::BaseConsumer>().expect("a consumer is made");
                }
                Role::Producer => {
                    config.create::<rdkafka::producer::BaseProducer>().expect("a producer is made");
                }
                Role::Admin => {
                    config.create::<rdkafka::admin::AdminClient<_>>().expect("an admin client is made");
                }
            }
        }
    }
}

#[test]
fn nothing_is_committed_unless_someone_says_so_and_producers_wait_for_all_replicas() {
    for broker in [Broker::kafka("a:1"), Broker::embedded("a:1")] {
        let consumer = Settings::default().client_config(&broker, Role::Consumer).unwrap();
        assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
        assert_eq!(consumer.get("enable.auto.offset.store"), Some("false"));
        let producer = Settings::default().client_config(&broker, Role::Producer).unwrap();
        assert_eq!(producer.get("acks"), Some("all"));
    }
}

#[test]
fn typed_keys_then_common_then_the_role() {
    let settings = settings(
        "{security_protocol: sasl_ssl, sasl_mechanism: PLAIN, sasl_username: u, sasl_password: p,
          common: {client.id: us, socket.timeout.ms: '1000'}, consumer: {client.id: reader}, producer: {linger.ms: '7'}}",
    );
    let config = |role| settings.client_config(&Broker::kafka("a:1"), role).unwrap();
    assert_eq!(config(Role::Consumer).get("client.id"), Some("reader"));
    assert_eq!(config(Role::Producer).get("client.id"), Some("us"));
    assert_eq!(config(Role::Producer).get("linger.ms"), Some("7"));
    assert_eq!(config(Role::Consumer).get("linger.ms"), None);
    for role in ROLES {
        assert_eq!(config(role).get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config(role).get("sasl.password"), Some("p"));
        assert_eq!(config(role).get("socket.timeout.ms"), Some("1000"));
    }
}

#[test]
fn a_setting_given_both_ways_is_an_error_that_names_both() {
    for (yaml, typed, raw) in [
        ("{sasl_password: p, common: {sasl.password: q}}", "sasl_password", "common.'sasl.password'"),
        (
            "{sasl_mechanism: PLAIN, producer: {sasl.mechanism: PLAIN}}",
            "sasl_mechanism",
            "producer.'sasl.mechanism'",
        ),
        (
            "{security_protocol: ssl, consumer: {security.protocol: ssl}}",
            "security_protocol",
            "consumer.'security.protocol'",
        ),
    ] {
        // Whatever the role: a mistake in the consumer's map is one for the producer too.
        for role in ROLES {
            let error = settings(yaml).client_config(&Broker::kafka("a:1"), role).unwrap_err();
            assert!(matches!(error, SettingsError::Conflict { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&format!("kafka.{typed} ")) && text.contains(raw), "{text}");
        }
    }
}

#[test]
fn settings_with_a_place_of_their_own_are_refused_in_the_maps() {
    for (raw, place) in [
        ("bootstrap.servers", "kafka.bootstrap_servers"),
        ("group.id", "group.id"),
        ("enable.auto.commit", "behind delivered results"),
    ] {
        let settings = settings(&format!("{{common: {{{raw}: 'x'}}}}"));
        let text = settings.client_config(&Broker::kafka("a:1"), Role::Consumer).unwrap_err().to_string();
        assert!(text.contains(raw) && text.contains(place), "{text}");
    }
}

#[test]
fn what_librdkafka_does_not_know_is_refused_by_name() {
    let text = settings("{common: {no.such.setting: '1'}}")
        .client_config(&Broker::kafka("a:1"), Role::Admin)
        .unwrap_err()
        .to_string();
    assert!(text.contains("no.such.setting"), "{text}");
    let text = settings("{common: {socket.timeout.ms: '300001'}}")
        .client_config(&Broker::kafka("a:1"), Role::Admin)
        .unwrap_err()
        .to_string();
    assert!(text.contains("socket.timeout.ms") && text.lines().count() == 1, "{text}");
}

#[test]
fn unknown_keys_and_protocols_are_refused() {
    for yaml in ["{bootstrap_server: x}", "{security_protocol: tls}"] {
        assert!(serde_yaml::from_str::<Settings>(yaml).is_err(), "{yaml}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!(
        "{:?}",
        settings(
            "{sasl_password: hunter2, common: {ssl.key.password: hunter3, sasl.oauthbearer.client.secret: hunter4,
              ssl.key.pem: hunter5}, producer: {linger.ms: '7'}}"
        )
    );
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("linger.ms") && shown.contains("[redacted]"), "{shown}");
}
