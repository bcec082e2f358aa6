//! The `kafka` section of a configuration file, and what librdkafka is given for it. The few settings that everyone
//! needs have keys of their own; any other of librdkafka's passes through by its dotted name. A setting given both ways
//! is an error: neither wins in silence.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize, Serializer};

use crate::DEAD_LETTER_BYTES;
use crate::defaults::{Role, defaults};
use crate::embedded;
use crate::locate::Broker;

/// How to connect. Where a key is `None`, librdkafka's own default stands. What is written of it has its secrets left out.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `host:port`, several with commas.
    pub bootstrap_servers: Option<String>,
    /// `security.protocol`.
    pub security_protocol: Option<SecurityProtocol>,
    /// `sasl.mechanisms`, as `PLAIN` or `SCRAM-SHA-512`.
    pub sasl_mechanism: Option<String>,
    /// `sasl.username`.
    pub sasl_username: Option<String>,
    /// `sasl.password`.
    pub sasl_password: Option<Secret>,
    /// `ssl.ca.location`, a file of certificates.
    pub ssl_ca_location: Option<String>,
    /// librdkafka's own settings for every connection.
    #[serde(serialize_with = "serialize_shown")]
    pub common: BTreeMap<String, String>,
    /// librdkafka's own settings for consumers; they go before `common`.
    #[serde(serialize_with = "serialize_shown")]
    pub consumer: BTreeMap<String, String>,
    /// librdkafka's own settings for producers; they go before `common`.
    #[serde(serialize_with = "serialize_shown")]
    pub producer: BTreeMap<String, String>,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither encryption nor a password.
    Plaintext,
    /// TLS.
    Ssl,
    /// A password without TLS.
    SaslPlaintext,
    /// A password inside TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// librdkafka's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

/// Text that never shows in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to hand to whoever needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

const REDACTED: &str = "[redacted]";

/// Why settings can't be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SettingsError {
    /// A setting given by its own key and by librdkafka's.
    #[error(
        "kafka.{typed} and kafka.{section}.'{raw}' are the same setting and both are given: keep one of them"
    )]
    Conflict {
        /// The key of our own.
        typed: &'static str,
        /// The map that the other is in.
        section: &'static str,
        /// librdkafka's key.
        raw: String,
    },
    /// A setting that has its place elsewhere or that delivery depends on.
    #[error("kafka.{section}.'{raw}' can't be set there: {instead}")]
    Reserved {
        /// The map that it is in.
        section: &'static str,
        /// librdkafka's key.
        raw: String,
        /// What to do.
        instead: &'static str,
    },
    /// A file that it names can't be read.
    #[error("kafka.{key} names the file {path}, which can't be read: {source}")]
    File {
        /// Our key, or the map and librdkafka's key.
        key: String,
        /// Which file.
        path: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// librdkafka does not take it. Its value is left out, since it may be a secret.
    #[error("the kafka section: {reason}")]
    Rejected {
        /// librdkafka's words.
        reason: String,
    },
}

/// librdkafka's keys that are not for the maps, and what to do instead.
const RESERVED: [(&str, &str); 11] = [
    ("bootstrap.servers", "use kafka.bootstrap_servers"),
    ("metadata.broker.list", "use kafka.bootstrap_servers"),
    ("group.id", "use group.id of the worker's configuration"),
    ("group.instance.id", "use group.instance_id of the worker's configuration"),
    ("group.protocol", "use group.protocol of the worker's configuration"),
    ("session.timeout.ms", "use group.session_timeout of the worker's configuration"),
    ("enable.auto.commit", "leave it out, offsets are committed behind delivered results"),
    ("auto.commit.enable", "leave it out, offsets are committed behind delivered results"),
    ("enable.auto.offset.store", "leave it out, offsets are committed behind delivered results"),
    ("test.mock.num.brokers", "leave it out, it would replace the broker"),
    ("transactional.id", "leave it out, it is not supported"),
];

impl Settings {
    /// What librdkafka is given: defaults for this broker and role, then the typed keys, then `common`, then the role's
    /// own map.
    ///
    /// Consumers get `auto.offset.reset=earliest`, bounded prefetch, no automatic commit, and as assignment strategy
    /// `range` on the embedded broker, where cooperative rounds take tens of seconds, and `cooperative-sticky` elsewhere;
    /// who uses `group.protocol=consumer` must `remove("partition.assignment.strategy")`. Producers get `acks=all`,
    /// idempotence on a real Kafka, a queue of 64 MiB, and records up to [`Settings::max_record_bytes`] with some room for
    /// the headers that a dead letter adds.
    ///
    /// # Errors
    /// [`SettingsError`] where a setting is given twice, belongs elsewhere, or is not known to librdkafka.
    pub fn client_config(&self, broker: &Broker, role: Role) -> Result<ClientConfig, SettingsError> {
        let mut config = ClientConfig::new();
        for (key, value) in defaults(role, broker.embedded) {
            config.set(*key, *value);
        }
        if role == Role::Producer {
            let limit = if broker.embedded {
                embedded::MESSAGE_MAX_BYTES
            } else {
                crate::MAX_RECORD_BYTES + DEAD_LETTER_BYTES
            };
            config.set("message.max.bytes", limit.to_string());
        }
        config.set("bootstrap.servers", &broker.bootstrap_servers);
        for (_, raw, value) in self.typed() {
            config.set(raw[0], value);
        }
        for (section, map) in self.maps() {
            self.check(section, map)?;
            let applies = match section {
                "consumer" => role == Role::Consumer,
                "producer" => role == Role::Producer,
                _ => true,
            };
            if applies {
                config.extend(map.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
        }
        self.check_files()?;
        config
            .create_native_config()
            .map_err(|error| SettingsError::Rejected { reason: rejection(&error) })?;
        Ok(config)
    }

    /// The largest record that should be sent to that broker, in bytes: what `message.max.bytes` of `producer` or `common`
    /// says, with some room for the headers that a dead letter adds, else that broker's own bound.
    #[must_use]
    pub fn max_record_bytes(&self, broker: &Broker) -> usize {
        let key = "message.max.bytes";
        let set = self.producer.get(key).or_else(|| self.common.get(key)).and_then(|text| text.parse().ok());
        let own = if broker.embedded { embedded::MAX_RECORD_BYTES } else { crate::MAX_RECORD_BYTES };
        set.map_or(own, |bytes: usize| bytes.saturating_sub(DEAD_LETTER_BYTES).max(1))
    }

    /// librdkafka would say only that it found no broker, after the whole time that it tries.
    fn check_files(&self) -> Result<(), SettingsError> {
        const FILES: [&str; 5] = [
            "ssl.ca.location",
            "ssl.certificate.location",
            "ssl.key.location",
            "ssl.keystore.location",
            "ssl.crl.location",
        ];
        let typed = self.ssl_ca_location.iter().map(|path| ("ssl_ca_location".to_owned(), path));
        let raw = self.maps().into_iter().flat_map(|(section, map)| {
            let files = map.iter().filter(|(name, _)| FILES.contains(&name.as_str()));
            files.map(move |(name, path)| (format!("{section}.'{name}'"), path))
        });
        for (key, path) in typed.chain(raw).filter(|(_, path)| *path != "probe") {
            // A folder of certificates is taken too; of a file the first byte tells whether it can be read.
            let readable = match std::fs::metadata(path) {
                Ok(found) if found.is_dir() => std::fs::read_dir(path).map(drop),
                Ok(_) => File::open(path).and_then(|mut file| file.read(&mut [0])).map(drop),
                Err(error) => Err(error),
            };
            readable.map_err(|source| SettingsError::File {
                key,
                path: path.clone(),
                source: Arc::new(source),
            })?;
        }
        Ok(())
    }

    /// Our key, librdkafka's names for it, and the value, of each typed key that is given.
    fn typed(&self) -> Vec<(&'static str, &'static [&'static str], &str)> {
        let all: [(&'static str, &'static [&'static str], Option<&str>); 5] = [
            ("security_protocol", &["security.protocol"], self.security_protocol.map(SecurityProtocol::name)),
            ("sasl_mechanism", &["sasl.mechanisms", "sasl.mechanism"], self.sasl_mechanism.as_deref()),
            ("sasl_username", &["sasl.username"], self.sasl_username.as_deref()),
            ("sasl_password", &["sasl.password"], self.sasl_password.as_ref().map(Secret::expose)),
            ("ssl_ca_location", &["ssl.ca.location"], self.ssl_ca_location.as_deref()),
        ];
        all.into_iter().filter_map(|(typed, raw, value)| Some((typed, raw, value?))).collect()
    }

    fn maps(&self) -> [(&'static str, &BTreeMap<String, String>); 3] {
        [("common", &self.common), ("consumer", &self.consumer), ("producer", &self.producer)]
    }

    fn check(&self, section: &'static str, map: &BTreeMap<String, String>) -> Result<(), SettingsError> {
        for (typed, names, _) in self.typed() {
            if let Some(raw) = names.iter().find(|name| map.contains_key(**name)) {
                return Err(SettingsError::Conflict { typed, section, raw: (*raw).to_owned() });
            }
        }
        match RESERVED.iter().find(|(raw, _)| map.contains_key(*raw)) {
            Some((raw, instead)) => Err(SettingsError::Reserved { section, raw: (*raw).to_owned(), instead }),
            None => Ok(()),
        }
    }
}

/// librdkafka's words, without the value.
fn rejection(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, key, _) => format!("{} ('{key}')", description.trim()),
        other => other.to_string(),
    }
}

/// Whether librdkafka's setting of that name is a secret.
fn is_secret(key: &str) -> bool {
    const MARKS: [&str; 7] =
        ["password", "secret", "jaas", "pem", "credential", "token", "sasl.oauthbearer.config"];
    MARKS.iter().any(|mark| key.contains(mark))
}

fn serialize_shown<S: Serializer>(map: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    shown(map).serialize(serializer)
}

/// A raw map with the values of secret keys left out.
fn shown(map: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    map.iter().map(|(k, v)| (k.as_str(), if is_secret(k) { REDACTED } else { v.as_str() })).collect()
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("security_protocol", &self.security_protocol)
            .field("sasl_mechanism", &self.sasl_mechanism)
            .field("sasl_username", &self.sasl_username)
            .field("sasl_password", &self.sasl_password)
            .field("ssl_ca_location", &self.ssl_ca_location)
            .field("common", &shown(&self.common))
            .field("consumer", &shown(&self.consumer))
            .field("producer", &shown(&self.producer))
            .finish()
    }
}
