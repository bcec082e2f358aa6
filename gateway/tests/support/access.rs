//! Keys on the topic, and gateways that ask for them.

use client::double;
use gateway::auth::keys::digest_of;
use jiff::Timestamp;
use kafka::{EmbeddedBroker, Topics};
use wire::{KeyRecord, Scope};

use super::{Running, config_with, eventually, http};

/// A key of those scopes, by its text.
pub(crate) fn record(id: &str, key: &str, scopes: &[Scope]) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        name: "a test's".to_owned(),
        digest: digest_of(key),
        scopes: scopes.to_vec(),
        models: None,
        rate: None,
        burst: None,
        created_at: Timestamp::now(),
        created_by: "test".to_owned(),
        expires_at: None,
        revoked_at: None,
        revoked_by: None,
    }
}

/// Puts it where gateways read it.
pub(crate) fn put(broker: &EmbeddedBroker, record: &KeyRecord) {
    let value = record.encode();
    double::write(&broker.broker(), &Topics::default().keys, &record.id, Some(&value)).unwrap();
}

/// A gateway that asks for keys, with more of the configuration.
pub(crate) async fn guarded(broker: &EmbeddedBroker, keys: &[(&str, &str)]) -> Running {
    let keys = [&[("auth.required", "true")], keys].concat();
    let running = Running::start_app(config_with(broker, &keys), gateway::App::with_embedded_keys).await;
    running.until_ready().await;
    running
}

/// With a key, as most send it.
pub(crate) fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

impl Running {
    /// One request with what stands in `Authorization`.
    pub(crate) async fn ask_as(&self, authorization: &str, method: &str, path: &str) -> http::Answer {
        http::ask(&self.ready.http, method, path, &[("authorization", authorization)], b"").await
    }

    /// One raw image with a key.
    pub(crate) async fn predict_as(&self, key: &str, query: &str) -> http::Answer {
        let headers = [("content-type", "image/png"), ("authorization", &*bearer(key))];
        self.post(&format!("/predict{query}"), &headers, b"raw").await
    }

    /// Waits until the gateway answers so to whoever has that key.
    pub(crate) async fn until(&self, key: &str, status: u16) {
        eventually("the gateway knows of the key", async || {
            self.ask_as(&bearer(key), "GET", "/v1/workers").await.status == status
        })
        .await;
    }
}
