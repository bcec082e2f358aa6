//! What all requests share, whichever way they came in, and what each of them does in the end: an image goes to a worker, and
//! its answer, or a problem, comes back in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{ClientError, Options, Outcome, Response};
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Places};
use crate::asked::Asked;
use crate::auth::Auth;
use crate::backend::Backend;
use crate::caller::Caller;
use crate::config::Config;
use crate::health::Health;
use crate::history::History;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::review::Reviews;
use crate::thumbnails::{Sketch, Thumbnails};

/// What all requests share.
#[derive(Debug)]
pub struct Gateway {
    /// As it was read.
    pub config: Config,
    /// Whether it is ready.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Metrics,
    /// What became of the requests of the last hour.
    pub history: History,
    /// Small pictures of some of them.
    pub(crate) thumbnails: Thumbnails,
    /// What workers do.
    pub live: Live,
    /// How much is taken.
    pub admission: Admission,
    /// Who may come in.
    pub auth: Auth,
    /// The workers.
    pub backend: Backend,
    /// Images that people look at.
    pub reviews: Reviews,
    /// Cancelled when the gateway is to end: what would go on for long ends then.
    pub draining: CancellationToken,
}

impl Gateway {
    /// Not connected yet.
    ///
    /// # Errors
    /// A sentence, where a file that the configuration names can't be used.
    pub fn new(config: Config) -> Result<Self, String> {
        let health = Arc::<Health>::default();
        Ok(Self {
            auth: Auth::new(&config, &health)?,
            metrics: Metrics::default(),
            history: History::new(config.http.page),
            thumbnails: Thumbnails::new(config.http.page && config.http.thumbnails),
            live: Live::new(config.connection()),
            admission: Admission::new(&config.limits),
            backend: Backend::new(config.connection(), config.results.max_looks, Arc::clone(&health)),
            reviews: Reviews::default(),
            draining: CancellationToken::new(),
            health,
            config,
        })
    }

    /// Whether what is served may be changed through here.
    ///
    /// # Errors
    /// [`Problem`] 403 where anybody may come in.
    pub fn may_be_changed(&self) -> Result<(), Problem> {
        if !self.config.http.allow_unauthenticated || self.auth.is_required() {
            return Ok(());
        }
        Err(Problem::forbidden(
            "anybody may come in here (http.allow_unauthenticated), so what is served is not changed through here: use `model promote`, `model rollback`, `client load` and `client unload`, or set auth.required (docs/security.md)",
        ))
    }

    /// Sends one image and waits for its answer. A worker's error is an answer: `Problem` is where there is none.
    ///
    /// # Errors
    /// `Problem` where there is no answer in time.
    pub async fn ask(
        &self,
        image: Vec<u8>,
        asked: &Asked,
        caller: &Caller,
        places: &Places,
    ) -> Result<Response, Problem> {
        self.ask_within(asked.timeout(&self.config)?, image, asked, caller, places).await
    }

    /// The same within that time.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_within(
        &self,
        time: Duration,
        image: Vec<u8>,
        asked: &Asked,
        caller: &Caller,
        _places: &Places,
    ) -> Result<Response, Problem> {
        caller.who.may_ask(asked.model.as_deref())?;
        if time.is_zero() {
            self.metrics.image("DEADLINE_EXCEEDED");
            return Err(Problem::deadline("the time for this request is over"));
        }
        let began = Instant::now();
        let sketch = self.thumbnails.sketch(&image);
        let answer = match self.backend.client() {
            Ok(client) => client.predict(image, options(asked, caller).timeout(time)).await,
            Err(problem) => {
                self.metrics.image("UNAVAILABLE");
                self.history.failed("UNAVAILABLE", problem.detail(), began.elapsed());
                return Err(problem);
            }
        };
        self.told(&answer, began.elapsed(), sketch);
        Ok(answer?)
    }

    /// Sends one image whose answer is asked for later, and that workers drop when its time is over.
    ///
    /// # Errors
    /// `Problem` where the broker does not take it in time.
    pub async fn leave(
        &self,
        image: Vec<u8>,
        asked: &Asked,
        caller: &Caller,
    ) -> Result<(client::Claim, Duration), Problem> {
        caller.who.may_ask(asked.model.as_deref())?;
        let time = asked.later(&self.config)?;
        let limit = self.config.requests.timeout.min(time);
        let options = options(asked, caller).timeout(limit).deadline(time);
        let client = self.backend.client()?;
        // Before it is sent it may wait for a place among those that an embedded broker holds.
        let Ok(sent) = tokio::time::timeout(limit, client.send_for_later(image, options)).await else {
            self.metrics.image("UNAVAILABLE");
            return Err(Problem::unavailable(
                "the broker has no room for more requests: those before wait for a worker",
            ));
        };
        if let Err(error) = &sent {
            self.metrics.image(code(error));
        }
        Ok((sent?, time))
    }

    fn told(&self, answer: &Result<Response, ClientError>, took: Duration, sketch: Option<Sketch>) {
        let code = match answer {
            Ok(Response { outcome: Outcome::Success(_), .. }) => "OK",
            Ok(Response { outcome: Outcome::Error(error), .. }) => error.code.name(),
            Err(error) => code(error),
        };
        self.metrics.image(code);
        let number = match answer {
            Ok(response) => self.history.image(response, took),
            Err(error) => self.history.failed(code, &cli::sentence(error), took),
        };
        if let Some(sketch) = sketch {
            let history = self.history.clone();
            sketch.make(move |jpeg| history.picture(number, jpeg));
        }
    }
}

fn code(error: &ClientError) -> &'static str {
    match Problem::from(error.clone()).status().as_u16() {
        413 => "OUT_OF_RANGE",
        504 => "DEADLINE_EXCEEDED",
        500 => "INTERNAL",
        _ => "UNAVAILABLE",
    }
}

fn options(asked: &Asked, caller: &Caller) -> Options {
    let mut options = Options::default().trace(caller.trace.clone());
    options.model.clone_from(&asked.model);
    options.version = asked.version;
    options.top_k = asked.top_k;
    options
}
