//! Tokens of an OpenID Connect issuer (JWT, RFC 7519), checked by the issuer's own keys, which are fetched from it and kept: one that is
//! away keeps nobody out whose key is known.
//!
//! - `token`: what a token says, and whether that may be believed; `jwks`: the issuer's keys; `fetch`: from where they come.

mod fetch;
mod jwks;
mod token;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::identity::{Identity, Rate};
use crate::config::access::{Jwt, may_be_fetched};
use crate::problem::Problem;
use fetch::Fetcher;
use jwks::KeySet;
use token::Token;

/// Between two fetches because of keys that are not known: whoever makes tokens up does not have the issuer asked more often.
const UNKNOWN: Duration = Duration::from_secs(30);
/// Between two attempts while the issuer does not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a request may wait for the issuer's keys.
const WAIT: Duration = Duration::from_secs(5);

/// What is known of the issuer.
#[derive(Debug, Default)]
struct Known {
    /// None until they were fetched once.
    keys: Option<Arc<KeySet>>,
    /// Why they could not be fetched the last time.
    fault: Option<String>,
}

/// Tells who has a token.
#[derive(Debug)]
pub struct Tokens {
    config: Jwt,
    issuer: String,
    rate: Option<Rate>,
    fetcher: Fetcher,
    known: watch::Sender<Arc<Known>>,
    wanted: Notify,
    /// They are about to come: whoever needs one that is not there waits for that.
    coming: AtomicBool,
    /// When an unknown key last made that the issuer was asked.
    asked: Mutex<Option<Instant>>,
}

impl Tokens {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// A sentence, where the certificates to trust can't be read.
    pub fn new(config: &Jwt, rate: Option<Rate>) -> Result<Self, String> {
        let issuer = config.issuer.clone().unwrap_or_default();
        let secure = [Some(&issuer), config.jwks_url.as_ref()].into_iter().flatten();
        let secure = secure.into_iter().any(|url| url.starts_with("https:"));
        Ok(Self {
            issuer,
            rate,
            fetcher: Fetcher::new(config.ca.as_deref(), secure)?,
            known: watch::Sender::new(Arc::default()),
            wanted: Notify::new(),
            coming: AtomicBool::new(true),
            asked: Mutex::new(None),
            config: config.clone(),
        })
    }

    /// Fetches the issuer's keys and keeps them fresh until the token is cancelled.
    pub async fn run(&self, end: CancellationToken) {
        while !end.is_cancelled() {
            self.coming.store(true, Ordering::SeqCst);
            let fetched = tokio::select! {
                fetched = self.fetch() => fetched,
                () = end.cancelled() => return,
            };
            let rest = if fetched.is_ok() { self.config.refresh } else { AGAIN };
            self.coming.store(false, Ordering::SeqCst);
            self.take(fetched);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.wanted.notified() => {}
                () = end.cancelled() => return,
            }
        }
    }

    fn take(&self, fetched: Result<KeySet, String>) {
        self.known.send_modify(|known| {
            let before = known.fault.as_ref();
            let next = match fetched {
                Ok(keys) => {
                    if known.keys.is_none() || before.is_some() {
                        tracing::info!(
                            issuer = self.issuer,
                            keys = keys.len(),
                            "the issuer's keys are known"
                        );
                    }
                    Known { keys: Some(Arc::new(keys)), fault: None }
                }
                Err(fault) => {
                    if before != Some(&fault) {
                        tracing::warn!(issuer = self.issuer, "the issuer's keys can't be fetched: {fault}");
                    }
                    Known { keys: known.keys.clone(), fault: Some(fault) }
                }
            };
            *known = Arc::new(next);
        });
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let url = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        KeySet::read(&self.fetcher.get(&url).await?).map_err(|error| format!("{url}: {error}"))
    }

    /// Where the issuer says that its keys are (OpenID Connect Discovery 1.0, section 4).
    async fn discover(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Discovered {
            issuer: String,
            jwks_uri: String,
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let found: Discovered = serde_json::from_slice(&self.fetcher.get(&url).await?)
            .map_err(|error| format!("{url} is no discovery document: {error}"))?;
        if found.issuer != self.issuer {
            return Err(format!(
                "{url} is of issuer '{}', and auth.jwt.issuer names another: write it as it stands there",
                wire::quoted(&found.issuer).escape_debug()
            ));
        }
        // What secures the one secures the other.
        if !may_be_fetched(&found.jwks_uri) {
            return Err(format!("{url} names keys at an address that is not https"));
        }
        Ok(found.jwks_uri)
    }

    /// Who has that token.
    ///
    /// # Errors
    /// [`Problem`]: 401 where it is not believed, 503 where the issuer's keys are not known.
    pub async fn believe(&self, text: &str) -> Result<Identity, Problem> {
        let token = Token::read(text).map_err(|fault| not_believed(&fault))?;
        let mut known = self.known.subscribe();
        let now = Arc::clone(&known.borrow_and_update());
        let found = now.keys.as_ref().and_then(|keys| keys.find(token.algorithm, token.kid.as_deref()));
        let key = match found {
            Some(key) => key,
            None => {
                // It may have begun to sign with another.
                if self.coming.load(Ordering::SeqCst) || (now.keys.is_some() && self.ask()) {
                    // Where nothing comes in time, what is known is looked at.
                    drop(tokio::time::timeout(WAIT, known.changed()).await);
                }
                let now = Arc::clone(&known.borrow());
                let found =
                    now.keys.as_ref().and_then(|keys| keys.find(token.algorithm, token.kid.as_deref()));
                match (found, &now.fault, &now.keys) {
                    (Some(key), ..) => key,
                    // Why not is for whoever runs the gateway: a stranger asks here.
                    (None, Some(_), _) | (None, None, None) => {
                        return Err(Problem::unavailable(
                            "the keys of the issuer of tokens can't be fetched now: this gateway's log says why",
                        ));
                    }
                    (None, None, Some(_)) => {
                        return Err(not_believed("it is signed with a key that the issuer does not have"));
                    }
                }
            }
        };
        let now = Timestamp::now().as_second();
        let claims = token.verify(&key, &self.config, &self.issuer, now);
        let claims = claims.map_err(|fault| not_believed(&fault))?;
        Ok(Identity {
            id: format!("token:{}", wire::quoted(&claims.subject).escape_debug()),
            scopes: claims.scopes,
            models: claims.models,
            rate: self.rate,
        })
    }

    /// Has the issuer asked for a key that is not known, if that may be now.
    fn ask(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let may = asked.is_none_or(|at| at.elapsed() >= UNKNOWN);
        if may {
            *asked = Some(Instant::now());
            self.coming.store(true, Ordering::SeqCst);
            self.wanted.notify_one();
        }
        may
    }
}

fn not_believed(fault: &str) -> Problem {
    Problem::not_believed(format!("the token is not believed: {fault}"))
}
