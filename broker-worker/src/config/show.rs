//! The `kafka` section for people: as it was given, with secrets left out.

use std::collections::BTreeMap;

use kafka::Settings;
use serde::ser::{SerializeMap, Serializer};

const REDACTED: &str = "[redacted]";

pub(super) fn settings<S: Serializer>(settings: &Settings, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("bootstrap_servers", &settings.bootstrap_servers)?;
    map.serialize_entry("security_protocol", &settings.security_protocol)?;
    map.serialize_entry("sasl_mechanism", &settings.sasl_mechanism)?;
    map.serialize_entry("sasl_username", &settings.sasl_username)?;
    map.serialize_entry("sasl_password", &settings.sasl_password.as_ref().map(|_| REDACTED))?;
    map.serialize_entry("ssl_ca_location", &settings.ssl_ca_location)?;
    map.serialize_entry("common", &redacted(&settings.common))?;
    map.serialize_entry("consumer", &redacted(&settings.consumer))?;
    map.serialize_entry("producer", &redacted(&settings.producer))?;
    map.end()
}

fn redacted(raw: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    const MARKS: [&str; 7] =
        ["password", "secret", "jaas", "pem", "credential", "token", "sasl.oauthbearer.config"];
    let secret = |key: &str| MARKS.iter().any(|mark| key.contains(mark));
    raw.iter()
        .map(|(key, value)| (key.as_str(), if secret(key) { REDACTED } else { value.as_str() }))
        .collect()
}
