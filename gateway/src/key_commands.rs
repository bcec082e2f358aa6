//! `gateway keys`: keys are made, listed and revoked by records on their topic, which gateways follow.

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use client::{ClientConfig, ClientError, Compacted, KeyRecord, Scope};
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;

use crate::audit;
use crate::auth::keys::{NO_EMBEDDED, PREFIX, digest_of};
use crate::config::Config;

/// How long the topic may take to be read to its end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of a key's random part, in bytes.
const SECRET: usize = 32;

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key, and print it: it is not shown again, and stored as its SHA-256 alone
    Create(CreateArgs),
    /// List the keys that there are, those that are revoked too
    List(ListArgs),
    /// Revoke a key: in a second or two no gateway takes it any more
    Revoke(RevokeArgs),
}

/// Of which kind the key is to be.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// What you call it, as who or what will use it
    #[arg(long, visible_alias = "description")]
    pub name: String,
    /// What it allows: predict, read, promote, review, several with commas
    #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
    pub scope: Vec<Scope>,
    /// A model that may be asked with it; may be repeated, all where none is named
    #[arg(long, value_name = "MODEL", value_parser = model)]
    pub model: Vec<String>,
    /// Until when it holds: a time from now as 90days, or one as 2027-01-31T00:00:00Z; for ever where not said
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub expires: Option<Timestamp>,
    /// How many times a second may be asked with it, each image counted [default: limits.rate_per_key]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// How many times at once, after a rest [default: as many as a second's]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub burst: Option<u32>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// How to list.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Print a JSON object for each, a line each
    #[arg(long)]
    pub json: bool,
}

/// Which key.
#[derive(Args, Clone, Debug)]
pub struct RevokeArgs {
    /// Its id, as `gateway keys list` shows it
    pub id: String,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Keys do not go with this broker.
    #[error("{NO_EMBEDDED}")]
    Embedded,
    /// The broker, or the topic.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no such key.
    #[error("there is no key '{0}': see `gateway keys list`")]
    Unknown(String),
    /// The system gives none.
    #[error("the system has no random numbers")]
    Random,
    /// Nobody takes what is printed.
    #[error("the output can't be written: {0}")]
    Io(#[from] std::io::Error),
}

impl KeysError {
    /// The exit code that goes with it.
    #[must_use]
    pub fn exit(&self) -> u8 {
        use cli::exit::{BROKER, FAILURE, USAGE};
        match self {
            Self::Embedded | Self::Client(ClientError::Settings(_) | ClientError::NoBroker { .. }) => USAGE,
            Self::Client(
                ClientError::Unreachable(_) | ClientError::Silent { .. } | ClientError::NoLeader { .. },
            ) => BROKER,
            Self::Client(_) | Self::Unknown(_) | Self::Random | Self::Io(_) => FAILURE,
        }
    }
}

/// A key that was just made.
#[derive(Serialize)]
struct Made<'a> {
    /// The key itself: this once.
    key: &'a str,
    #[serde(flatten)]
    record: &'a KeyRecord,
}

/// Does it.
///
/// # Errors
/// [`KeysError`], one sentence.
pub async fn run(command: KeysCommand, config: &Config) -> Result<(), KeysError> {
    if config.kafka.bootstrap_servers.is_none() {
        return Err(KeysError::Embedded);
    }
    let connection = config.connection();
    match command {
        KeysCommand::Create(args) => create(args, &connection).await,
        KeysCommand::List(args) => list(&args, &connection).await,
        KeysCommand::Revoke(args) => revoke(&args, &connection).await,
    }
}

async fn create(args: CreateArgs, connection: &ClientConfig) -> Result<(), KeysError> {
    // To see that it is a broker that keeps what it is given, and that the topic is there.
    all(connection).await?;
    let CreateArgs { name, mut scope, model, expires, rate, burst, json } = args;
    scope.sort_unstable();
    scope.dedup();
    let (id, key) = new_key()?;
    let record = KeyRecord {
        id,
        name,
        digest: digest_of(&key),
        scopes: scope,
        models: (!model.is_empty()).then_some(model),
        rate,
        burst,
        created_at: Timestamp::now(),
        created_by: cli::whoami(),
        expires_at: expires,
        revoked_at: None,
        revoked_by: None,
    };
    write(connection, "key.create", &record, &record.created_by).await?;
    let mut out = std::io::stdout().lock();
    if json {
        let made =
            serde_json::to_string(&Made { key: &key, record: &record }).map_err(std::io::Error::other)?;
        writeln!(out, "{made}")?;
    } else {
        writeln!(out, "{key}")?;
        eprintln!(
            "gateway: this is key {}; keep it now, it is not shown again. Gateways take it in a second or two.",
            record.id
        );
    }
    Ok(out.flush()?)
}

async fn list(args: &ListArgs, connection: &ClientConfig) -> Result<(), KeysError> {
    let mut out = std::io::stdout().lock();
    let records = all(connection).await?;
    if args.json {
        for record in &records {
            writeln!(out, "{}", String::from_utf8_lossy(&record.encode()))?;
        }
        return Ok(out.flush()?);
    }
    let mut rows = vec![["ID", "NAME", "SCOPES", "MODELS", "STATE", "CREATED"].map(str::to_owned).to_vec()];
    rows.extend(records.iter().map(|record| row(record, Timestamp::now())));
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..6).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(out.flush()?)
}

/// What a person sees of it. What others wrote steers no terminal.
fn row(record: &KeyRecord, now: Timestamp) -> Vec<String> {
    let shown = |text: &str| wire::quoted(text).escape_debug().to_string();
    let state = match (record.revoked_at, record.expires_at) {
        (Some(at), _) => format!("revoked {at:.0}"),
        (None, Some(at)) if at <= now => format!("expired {at:.0}"),
        (None, Some(at)) => format!("until {at:.0}"),
        (None, None) => "holds".to_owned(),
    };
    let scopes: Vec<_> = record.scopes.iter().map(|scope| scope.name()).collect();
    let models = record.models.as_ref().map_or_else(|| "all".to_owned(), |models| models.join(","));
    vec![
        shown(&record.id),
        shown(&record.name),
        scopes.join(","),
        shown(&models),
        state,
        format!("{:.0} {}", record.created_at, shown(&record.created_by)),
    ]
}

async fn revoke(args: &RevokeArgs, connection: &ClientConfig) -> Result<(), KeysError> {
    let found = all(connection).await?.into_iter().find(|record| record.id == args.id);
    let Some(record) = found else { return Err(KeysError::Unknown(args.id.escape_debug().to_string())) };
    let who = cli::whoami();
    let record = match record.revoked_at {
        Some(_) => record,
        None => {
            let record =
                KeyRecord { revoked_at: Some(Timestamp::now()), revoked_by: Some(who.clone()), ..record };
            write(connection, "key.revoke", &record, &who).await?;
            record
        }
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", String::from_utf8_lossy(&record.encode()))?;
    } else {
        eprintln!("gateway: key {} is revoked; no gateway takes it any more in a second or two", args.id);
    }
    Ok(out.flush()?)
}

async fn write(
    connection: &ClientConfig,
    action: &str,
    record: &KeyRecord,
    who: &str,
) -> Result<(), KeysError> {
    let written = client::put(connection, &connection.topics.keys, &record.id, record.encode()).await;
    let entry = audit::Entry::new(action, &record.id).by(who);
    match &written {
        Ok(()) => entry.done(),
        Err(error) => entry.refused(&error.to_string()),
    }
    Ok(written?)
}

/// All that there are, the oldest first.
async fn all(connection: &ClientConfig) -> Result<Vec<KeyRecord>, KeysError> {
    let topic = &connection.topics.keys;
    let table = Compacted::open(connection, topic).await?;
    if table.broker().embedded {
        return Err(KeysError::Embedded);
    }
    let mut rows = table.subscribe();
    let read = async {
        let read = rows.wait_for(|rows| rows.complete || rows.fault.is_some()).await;
        let rows = read.map_err(|_| ClientError::Closed)?.clone();
        match &rows.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(rows),
        }
    };
    let late = ClientError::NotRead { topic: topic.clone() };
    let rows = tokio::time::timeout(PATIENCE, read).await.map_err(|_| late)??;
    let mut records: Vec<_> =
        rows.values.values().filter_map(|value| KeyRecord::decode(value).ok()).collect();
    records.sort_by_key(|record| record.created_at);
    Ok(records)
}

/// An id and a key, of the system's random numbers.
fn new_key() -> Result<(String, String), KeysError> {
    let random = SystemRandom::new();
    let (mut id, mut secret) = ([0; 6], [0; SECRET]);
    random.fill(&mut id).and_then(|()| random.fill(&mut secret)).map_err(|_| KeysError::Random)?;
    let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((id, format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))))
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::named(text).ok_or_else(|| "it is predict, read, promote or review".to_owned())
}

fn model(text: &str) -> Result<String, String> {
    crate::asked::check_name(text).map(|()| text.to_owned()).map_err(|problem| problem.detail().to_owned())
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    let at = match text.parse::<Timestamp>() {
        Ok(at) => Some(at),
        Err(_) => humantime::parse_duration(text)
            .ok()
            .and_then(|time| jiff::SignedDuration::try_from(time).ok())
            .and_then(|time| Timestamp::now().checked_add(time).ok()),
    };
    match at {
        Some(at) if at > Timestamp::now() => Ok(at),
        Some(_) => Err("that is over already".to_owned()),
        None => Err("write a time from now as 90days, or one as 2027-01-31T00:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_256_bits_that_nobody_had_before_and_says_what_it_is() {
        let (first, key) = new_key().unwrap();
        let (second, other) = new_key().unwrap();
        assert_ne!(key, other);
        assert_ne!(first, second);
        let bytes = URL_SAFE_NO_PAD.decode(key.strip_prefix(PREFIX).unwrap()).unwrap();
        assert_eq!(bytes.len() * 8, 256);
        assert!(!digest_of(&key).contains(&first), "the id tells nothing of the key");
    }

    #[test]
    fn a_time_is_one_that_comes() {
        assert!(expiry("90days").unwrap() > Timestamp::now());
        assert_eq!(expiry("2999-01-31T00:00:00Z").unwrap().to_string(), "2999-01-31T00:00:00Z");
        for bad in ["", "0s", "soon", "-1d", "2001-01-31T00:00:00Z", "2999-01-31", "99999999999y"] {
            assert!(expiry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_row_steers_no_terminal() {
        let record = KeyRecord {
            id: "a".into(),
            name: "\x1b[2J evil\n".into(),
            digest: String::new(),
            scopes: vec![Scope::Read],
            models: Some(vec!["bird".into()]),
            rate: None,
            burst: None,
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "ada".into(),
            expires_at: Some(Timestamp::UNIX_EPOCH),
            revoked_at: None,
            revoked_by: None,
        };
        let row = row(&record, Timestamp::now());
        assert!(row.iter().all(|cell| !cell.contains(['\x1b', '\n'])), "{row:?}");
        assert_eq!(row[4], "expired 1970-01-01T00:00:00Z");
        assert_eq!(row[3], "bird");
    }
}
