//! The keys that callers have, as the topic tells them: by digest, so that nothing here could be used to come in.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use client::{ClientConfig, ClientError, Compacted, KeyRecord, Rows};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use tokio_util::sync::CancellationToken;

use super::identity::{Identity, Rate};
use crate::audit;
use crate::health::Health;
use crate::problem::Problem;

/// What each key begins with: so it is told from a token, and found where it does not belong.
pub const PREFIX: &str = "mlaas_";

/// Between two attempts to read the topic.
const AGAIN: Duration = Duration::from_millis(500);
/// Longer than any key.
const LONGEST: usize = 128;

type Digest = [u8; 32];
type Known = HashMap<Digest, KeyRecord>;

/// The keys.
#[derive(Debug)]
pub struct Keys {
    /// None until the topic was read to its end.
    known: RwLock<Option<Arc<Known>>>,
    health: Arc<Health>,
    /// How fast one may ask whose record does not say.
    rate: Option<Rate>,
}

/// The digest of a key's text as its record has it.
#[must_use]
pub fn digest_of(key: &str) -> String {
    let hex: String = hash(key).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn hash(key: &str) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    bytes
}

/// What a record's digest says, where it is one.
fn parse(text: &str) -> Option<Digest> {
    let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii())?;
    let mut bytes = Digest::default();
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl Keys {
    /// None known yet; it stands in `health` until they are.
    #[must_use]
    pub fn new(health: Arc<Health>, rate: Option<Rate>) -> Self {
        health.await_keys();
        Self { known: RwLock::new(None), health, rate }
    }

    /// Whose key that is. Its digest is looked up: how long that takes tells nothing of any key.
    ///
    /// # Errors
    /// [`Problem`]: 401 where it is nobody's, or of no use any more; 503 where the keys are not known yet.
    pub fn find(&self, presented: &str, now: Timestamp) -> Result<Identity, Problem> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(known) = known else {
            return Err(Problem::unavailable("the keys of callers are not read yet: /readyz says why"));
        };
        let record = Some(presented).filter(|key| key.len() <= LONGEST).and_then(|key| known.get(&hash(key)));
        let Some(record) = record else {
            return Err(Problem::not_believed("the key is not known here: see that it is whole"));
        };
        let id = wire::quoted(&record.id);
        if record.revoked_at.is_some() {
            return Err(Problem::not_believed(format!("key {id} was revoked")));
        }
        if record.expires_at.is_some_and(|at| at <= now) {
            return Err(Problem::not_believed(format!("key {id} has expired")));
        }
        Ok(Identity {
            id: format!("key:{id}"),
            scopes: record.scopes.clone(),
            models: record.models.clone().map(|models| models.into_iter().collect()),
            rate: match record.rate {
                Some(rate) => Rate::of(Some(rate), record.burst),
                None => {
                    self.rate.map(|rate| Rate { burst: record.burst.unwrap_or(rate.burst).max(1), ..rate })
                }
            },
        })
    }

    /// Reads the topic and keeps up with it until the token is cancelled. An embedded broker's is not taken unless `embedded`.
    pub async fn run(&self, config: ClientConfig, embedded: bool, end: CancellationToken) {
        while !end.is_cancelled() {
            let opening = async {
                match self.open(&config, embedded).await {
                    Ok(table) => Some(table),
                    Err(fault) => {
                        self.health.set_keys(Some(fault));
                        tokio::time::sleep(AGAIN).await;
                        None
                    }
                }
            };
            let table = tokio::select! {
                table = opening => table,
                () = end.cancelled() => return,
            };
            let Some(table) = table else { continue };
            let mut rows = table.subscribe();
            loop {
                let now = rows.borrow_and_update().clone();
                self.take(&now);
                tokio::select! {
                    more = rows.changed() => if more.is_err() { break },
                    () = end.cancelled() => return,
                }
            }
        }
    }

    async fn open(&self, config: &ClientConfig, embedded: bool) -> Result<Compacted, String> {
        let table = Compacted::open(config, &config.topics.keys).await;
        let table = table.map_err(|error| format!("the keys of callers can't be read: {}", words(&error)))?;
        if table.broker().embedded && !embedded {
            return Err(NO_EMBEDDED.to_owned());
        }
        Ok(table)
    }

    fn take(&self, rows: &Rows) {
        if rows.complete {
            let known = Arc::new(read(rows));
            let mut held = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let before = held.replace(Arc::clone(&known));
            drop(held);
            match before {
                None => tracing::info!(keys = known.len(), "the keys of callers are read"),
                Some(before) => tell(&before, &known),
            }
        }
        let fault =
            rows.fault.as_ref().map(|fault| format!("the keys of callers can't be read: {}", words(fault)));
        if rows.complete || fault.is_some() {
            self.health.set_keys(fault);
        }
    }
}

/// Why keys do not go with an embedded broker.
pub const NO_EMBEDDED: &str = "keys need a real Kafka: a worker's embedded broker forgets them when that worker ends; name one in kafka.bootstrap_servers, or turn auth.keys off";

fn words(error: &ClientError) -> String {
    match error {
        ClientError::NoBroker { .. } => NO_EMBEDDED.to_owned(),
        error => cli::sentence(error),
    }
}

/// The keys by their digests. What is no record of a key counts as none: it lets nobody in.
fn read(rows: &Rows) -> Known {
    let mut known = Known::new();
    for (key, value) in &rows.values {
        let name = wire::quoted(&String::from_utf8_lossy(key));
        let record = match KeyRecord::decode(value) {
            Ok(record) if record.id.as_bytes() == key => record,
            Ok(_) => {
                tracing::warn!(
                    record = name,
                    "a record on the topic of keys has another's id, and is not taken"
                );
                continue;
            }
            Err(error) => {
                tracing::warn!(record = name, %error, "a record on the topic of keys is none of a key");
                continue;
            }
        };
        let Some(digest) = parse(&record.digest) else {
            tracing::warn!(record = name, "a record on the topic of keys has no digest, and is not taken");
            continue;
        };
        // Two that say the same of one key: what was revoked stays so.
        let other = known.get(&digest);
        if other.is_none_or(|other| other.revoked_at.is_none()) {
            known.insert(digest, record);
        }
    }
    known
}

/// What changed, for whoever reads later who could come in when.
fn tell(before: &Known, now: &Known) {
    for (digest, record) in now {
        let known = before.get(digest);
        let revoked = record.revoked_at.is_some();
        let (action, who) = match known {
            Some(known) if known.revoked_at.is_some() == revoked => continue,
            _ if revoked => ("key.revoked", record.revoked_by.as_deref().unwrap_or_default()),
            _ => ("key.known", &*record.created_by),
        };
        audit::Entry::new(action, &record.id).by(who).done();
    }
    for record in before.iter().filter(|(digest, _)| !now.contains_key(*digest)).map(|(_, record)| record) {
        audit::Entry::new("key.gone", &record.id).done();
    }
}

#[cfg(test)]
mod tests {
    use client::Scope;

    use super::*;

    const KEY: &str = "mlaas_0123456789abcdef0123456789abcdef0123456789a";

    fn record(id: &str, key: &str) -> KeyRecord {
        KeyRecord {
            id: id.into(),
            name: "a test's".into(),
            digest: digest_of(key),
            scopes: vec![Scope::Predict],
            models: None,
            rate: None,
            burst: None,
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "test".into(),
            expires_at: None,
            revoked_at: None,
            revoked_by: None,
        }
    }

    fn rows(records: &[KeyRecord]) -> Rows {
        let row = |record: &KeyRecord| (record.id.clone().into_bytes(), record.encode());
        Rows { values: records.iter().map(row).collect(), complete: true, fault: None }
    }

    fn keys(records: &[KeyRecord]) -> Keys {
        let keys = Keys::new(Arc::default(), Rate::of(Some(5), Some(7)));
        keys.take(&rows(records));
        keys
    }

    fn find(keys: &Keys, key: &str) -> Result<Identity, u16> {
        keys.find(key, Timestamp::now()).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn the_digest_is_sha_256_of_the_text() {
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_of("abc"), abc);
        assert_eq!(parse(abc).unwrap()[..2], [0xba, 0x78]);
        for bad in ["", "ba78", "sha256:", &abc[..70], &abc.replace('b', "x"), &abc.replace("ba", "é")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn nobody_comes_in_before_all_keys_are_known() {
        let health = Arc::<Health>::default();
        health.set_broker(None);
        let keys = Keys::new(Arc::clone(&health), None);
        assert_eq!(find(&keys, KEY), Err(503));
        assert!(health.ready().unwrap_err()[0].contains("keys"));
        // A part of them is not all of them: what was revoked may come yet.
        keys.take(&Rows { complete: false, ..rows(&[record("a", KEY)]) });
        assert_eq!(find(&keys, KEY), Err(503));
        keys.take(&rows(&[record("a", KEY)]));
        assert!(find(&keys, KEY).is_ok());
        assert_eq!(health.ready(), Ok(()));
    }

    #[test]
    fn what_is_revoked_expired_or_unknown_lets_nobody_in() {
        let now = Timestamp::now();
        let keys = keys(&[
            record("a", KEY),
            KeyRecord { revoked_at: Some(now), ..record("b", "mlaas_b") },
            KeyRecord { expires_at: Some(now), ..record("c", "mlaas_c") },
            KeyRecord { expires_at: Some("2999-01-01T00:00:00Z".parse().unwrap()), ..record("d", "mlaas_d") },
            KeyRecord { digest: "mlaas_e".into(), ..record("e", "mlaas_e") },
        ]);
        assert_eq!(find(&keys, KEY).unwrap().id, "key:a");
        assert!(find(&keys, "mlaas_d").is_ok());
        let digest = digest_of(KEY);
        for bad in
            ["mlaas_b", "mlaas_c", "mlaas_e", &KEY[1..], &KEY.to_uppercase(), "", &digest, &"x".repeat(5000)]
        {
            assert_eq!(find(&keys, bad), Err(401), "{bad}");
        }
        for (id, known) in [("a", true), ("other", false)] {
            let mut other = rows(&[record("a", KEY)]);
            other.values = other.values.into_values().map(|value| (id.into(), value)).collect();
            keys.take(&other);
            assert_eq!(find(&keys, KEY).is_ok(), known, "under the key {id}");
        }
        keys.take(&rows(&[]));
        assert_eq!(find(&keys, KEY), Err(401), "taken back");
    }

    #[test]
    fn of_two_records_of_one_key_the_revoked_one_holds() {
        for (first, second) in [("a", "b"), ("b", "a")] {
            let revoked = KeyRecord { revoked_at: Some(Timestamp::now()), ..record(first, KEY) };
            assert_eq!(find(&keys(&[revoked, record(second, KEY)]), KEY), Err(401));
        }
    }

    #[test]
    fn a_record_s_own_limit_goes_before_the_gateway_s() {
        let of =
            |rate, burst| find(&keys(&[KeyRecord { rate, burst, ..record("a", KEY) }]), KEY).unwrap().rate;
        assert_eq!(of(None, None), Rate::of(Some(5), Some(7)));
        assert_eq!(of(Some(2), None), Rate::of(Some(2), Some(2)));
        assert_eq!(of(Some(2), Some(9)), Rate::of(Some(2), Some(9)));
        assert_eq!(of(None, Some(1)), Rate::of(Some(5), Some(1)));
        assert_eq!(of(Some(0), Some(0)), Rate::of(Some(1), Some(1)));
    }
}
