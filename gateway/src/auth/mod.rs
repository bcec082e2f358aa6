//! Who may come in, and what they may do: by a key, a token of an OpenID Connect issuer, or a certificate.
//!
//! - [`table`]: which scope each route needs; `guard`: what stands before the routes; `origin`: what pages of others may have a browser send.
//! - [`identity`]: who asks, once that is known; `credential`: what they show for it.
//! - [`keys`]: keys, from their topic; [`jwt`]: tokens; [`rate`]: how fast each may ask.

mod credential;
pub mod guard;
pub mod identity;
pub mod jwt;
pub mod keys;
pub mod origin;
pub mod rate;
pub mod table;

use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use client::{ClientConfig, Scope};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::Health;
use crate::problem::Problem;
use credential::Credential;
use identity::{Identity, Rate};
use jwt::Tokens;
use keys::Keys;
use rate::{Left, Limiter};

/// The name that a caller's certificate was checked to have; a connection's requests carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(pub Arc<str>);

/// All that is needed to tell who asks.
#[derive(Debug)]
pub struct Auth {
    required: bool,
    open_metrics: bool,
    keys: Option<Keys>,
    tokens: Option<Arc<Tokens>>,
    /// What a certificate allows.
    certificates: Vec<Scope>,
    rate: Option<Rate>,
    limiter: Limiter,
}

impl Auth {
    /// As it is configured; nothing is known yet.
    ///
    /// # Errors
    /// A sentence, where a file that the configuration names can't be used.
    pub fn new(config: &Config, health: &Arc<Health>) -> Result<Self, String> {
        let auth = &config.auth;
        let rate = Rate::of(config.limits.rate_per_key, config.limits.burst_per_key);
        let tokens = match &auth.jwt.issuer {
            Some(_) if auth.required => Some(Arc::new(Tokens::new(&auth.jwt, rate)?)),
            _ => None,
        };
        Ok(Self {
            required: auth.required,
            open_metrics: auth.open_metrics,
            keys: (auth.required && auth.keys).then(|| Keys::new(Arc::clone(health), rate)),
            tokens,
            certificates: auth.client_certificates.scopes.clone(),
            rate,
            limiter: Limiter::default(),
        })
    }

    /// Whether callers have to say who they are.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Reads keys and an issuer's until the token is cancelled. An embedded broker's keys are not taken unless `embedded`.
    pub async fn run(&self, config: ClientConfig, embedded: bool, end: CancellationToken) {
        let keys = async {
            if let Some(keys) = &self.keys {
                keys.run(config, embedded, end.clone()).await;
            }
        };
        let tokens = async {
            if let Some(tokens) = &self.tokens {
                tokens.run(end.clone()).await;
            }
        };
        tokio::join!(keys, tokens);
    }

    /// Who asks.
    ///
    /// # Errors
    /// [`Problem`]: 401 where they do not say or are not believed, 503 where that can't be told now.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        subject: Option<&Subject>,
    ) -> Result<Identity, Problem> {
        match (credential::read(headers)?, subject) {
            (Some(Credential::Key(key)), _) => match &self.keys {
                Some(keys) => keys.find(key, Timestamp::now()),
                None => Err(Problem::not_believed("this gateway takes no keys (auth.keys is off)")),
            },
            (Some(Credential::Token(token)), _) => match &self.tokens {
                Some(tokens) => tokens.believe(token).await,
                None => Err(Problem::not_believed(format!(
                    "this is no key, which begins with {}, and this gateway takes no tokens (auth.jwt.issuer is not set)",
                    keys::PREFIX
                ))),
            },
            (None, Some(Subject(name))) if !self.certificates.is_empty() => Ok(Identity {
                id: format!("certificate:{}", wire::quoted(name).escape_debug()),
                scopes: self.certificates.clone(),
                models: None,
                rate: self.rate,
            }),
            (None, _) => Err(Problem::unauthenticated(
                "say who asks: send a key, as `Authorization: Bearer mlaas_…` or `X-API-Key: mlaas_…`, or a token of the issuer's",
            )),
        }
    }

    /// Lets somebody in who is known, if they have the scope and are not too fast: what is left of their rate, where there is one.
    ///
    /// # Errors
    /// [`Problem`]: 403, or 429 with the time to wait.
    pub fn admit(&self, identity: &Identity, scope: Scope) -> Result<Option<Left>, Problem> {
        identity.may(scope)?;
        self.limiter.take(identity, Instant::now()).map_err(|wait| {
            let rate = identity.rate.map_or(0, |rate| rate.per_second);
            Problem::too_fast(format!("{} may ask {rate} times a second", identity.id), wait)
        })
    }

    /// A request whose first image is paid for brings so many: the caller's next ones wait for it.
    pub fn owe(&self, identity: Option<&Identity>, images: usize) {
        if let Some(identity) = identity {
            self.limiter.owe(identity, images.saturating_sub(1), Instant::now());
        }
    }

    /// Whether that need is none here.
    #[must_use]
    pub fn scope(&self, need: table::Need) -> Option<Scope> {
        match need {
            table::Need::Open => None,
            table::Need::Metrics => (!self.open_metrics).then_some(Scope::Read),
            table::Need::Scope(scope) => Some(scope),
        }
    }
}
