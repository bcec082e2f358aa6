//! Images that people look at: the connection to their topics, made when somebody first asks, and who it is that says what they show.

use std::sync::Arc;
use std::time::Duration;

use client::review::Desk;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::caller::Caller;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// How long somebody waits until the topics are read; after that they are asked to come again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that somebody's name may be, in bytes.
const MAX_NAME: usize = 100;
/// So many images are kept track of at most: a few hundred bytes each.
const MOST: usize = 100_000;

/// The section `review` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Review {
    /// How many of the last images on the topic are shown.
    pub keep: usize,
}

impl Default for Review {
    fn default() -> Self {
        Self { keep: 2000 }
    }
}

impl Review {
    /// What is wrong with it, a sentence; none where nothing is.
    pub(crate) fn fault(&self) -> Option<String> {
        (!(1..=MOST).contains(&self.keep))
            .then(|| format!("review.keep, {}, must be from 1 to {MOST}", self.keep))
    }
}

/// The connection, where anybody has asked for it.
#[derive(Debug, Default)]
pub struct Reviews(Mutex<Option<Arc<Desk>>>);

impl Gateway {
    /// The images that people look at, read as far as they were there when somebody first asked.
    ///
    /// # Errors
    /// [`Problem`]: 501 on the embedded broker, which forgets them before anybody looks; 503 where the topics can't be read, or not yet.
    pub async fn desk(&self) -> Result<Arc<Desk>, Problem> {
        if self.backend.client()?.broker().embedded {
            return Err(Problem::not_implemented(
                "images are looked at on a real Kafka alone: the embedded broker forgets them before anybody could; give worker and gateway kafka.bootstrap_servers",
            ));
        }
        let mut open = self.reviews.0.lock().await;
        let desk = match &*open {
            Some(desk) => Arc::clone(desk),
            None => {
                let desk = Desk::open(&self.config.connection(), self.config.review.keep).await?;
                Arc::clone(open.insert(Arc::new(desk)))
            }
        };
        drop(open);
        if let Some(fault) = desk.fault() {
            return Err(fault.into());
        }
        if !desk.is_read(PATIENCE).await {
            return Err(Problem::unavailable("the images that people are to look at are still being read"));
        }
        Ok(desk)
    }
}

/// Who says what an image shows, or changes what is in service: whoever is known to ask; where nobody is asked who they are, as they call
/// themselves.
///
/// # Errors
/// [`Problem`] 422 where it is no name: it stands in a record, and on others' pages.
pub fn reviewer(caller: &Caller, by: Option<&str>) -> Result<String, Problem> {
    if let Some(known) = caller.who.identity() {
        return Ok(wire::quoted(&known.id).escape_debug().take(MAX_NAME).collect());
    }
    let Some(by) = by.map(str::trim).filter(|by| !by.is_empty()) else { return Ok("somebody".to_owned()) };
    if by.len() > MAX_NAME || wire::label::check(by).is_err() {
        return Err(Problem::unprocessable(format!(
            "by is who says it: a name of {MAX_NAME} bytes at most, without control characters"
        )));
    }
    Ok(by.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_it_is_a_name() {
        let caller = Caller::default();
        let name = |by: &str| reviewer(&caller, Some(by));
        assert_eq!(name(" Ada Lovelace "), Ok("Ada Lovelace".to_owned()));
        assert_eq!(
            (name("  "), reviewer(&caller, None)),
            (Ok("somebody".to_owned()), Ok("somebody".to_owned()))
        );
        for bad in ["a\nb", "a\0", "\u{202e}eve", &"x".repeat(101)] {
            assert_eq!(name(bad).unwrap_err().status().as_u16(), 422, "{bad:?}");
        }
    }

    #[test]
    fn who_is_known_is_not_asked_again() {
        let caller = Caller::default();
        let id = "token:ada\n".to_owned();
        caller.who.is(crate::auth::identity::Identity { id, scopes: Vec::new(), models: None, rate: None });
        assert_eq!(reviewer(&caller, Some("eve")), Ok("token:ada\\n".to_owned()));
    }

    #[test]
    fn as_many_are_kept_as_can_be() {
        assert_eq!(Review::default().fault(), None);
        for keep in [0, MOST + 1] {
            assert!(Review { keep }.fault().unwrap().starts_with("review.keep, "));
        }
    }
}
