//! What is asked about an image: by the query of a request, by fields of its body, or by both, the query going before. All of it
//! is checked here, before any of it becomes a header of a record.

use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::config::Config;
use crate::problem::Problem;

/// The longest name that a model has.
const MAX_NAME: usize = 100;
/// More labels than any model has.
pub const ALL_LABELS: u32 = 1_000_000;

/// What is asked about an image, or about each of several. What is not said the worker's configuration decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// The model that should answer. Without it the worker's default model does.
    #[schema(max_length = 100, pattern = "^[a-z0-9][a-z0-9._-]*$")]
    #[param(max_length = 100, pattern = "^[a-z0-9][a-z0-9._-]*$")]
    pub model: Option<String>,
    /// Its version. Without it the one in service answers.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, format = Int64)]
    #[param(minimum = 1, maximum = 4_294_967_295_u32, format = Int64)]
    pub version: Option<u32>,
    /// How many labels to return, the most probable first.
    #[schema(minimum = 1, maximum = 1_000_000)]
    #[param(minimum = 1, maximum = 1_000_000)]
    pub top_k: Option<u32>,
    /// How long to wait for the answer, as `500ms`, `30s` or `2min`.
    #[schema(example = "30s")]
    #[param(example = "30s")]
    pub timeout: Option<String>,
    /// Do not wait: answer 202 with an id under which the result can be asked for.
    #[serde(rename = "async")]
    #[schema(ignore)]
    #[param(rename = "async")]
    pub is_async: Option<bool>,
}

impl Asked {
    /// What the query of a request says.
    ///
    /// # Errors
    /// Where it is not understood, or makes no sense.
    pub fn query(uri: &Uri) -> Result<Self, Problem> {
        let Query(asked) = Query::<Self>::try_from_uri(uri).map_err(|error| {
            Problem::bad_request(format!("the query is not understood: {}", cli::sentence(&error)))
        })?;
        Ok(asked)
    }

    /// One field of a form.
    ///
    /// # Errors
    /// Where there is no such field, or its value is not understood.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let number = || {
            value.parse().map_err(|_| {
                Problem::bad_request(format!("{name} is '{}', and no whole number", wire::quoted(value)))
            })
        };
        match name {
            "model" => self.model = Some(value.to_owned()),
            "version" => self.version = Some(number()?),
            "top_k" => self.top_k = Some(number()?),
            "timeout" => self.timeout = Some(value.to_owned()),
            _ => {
                return Err(Problem::bad_request(format!(
                    "the form has a field '{}', and only image, model, version, top_k and timeout are known",
                    wire::quoted(name)
                )));
            }
        }
        Ok(())
    }

    /// With what the body says where the query says nothing. Both are checked, also where the query goes before.
    ///
    /// # Errors
    /// Where it makes no sense.
    pub fn or(self, body: Self) -> Result<Self, Problem> {
        self.check()?;
        body.check()?;
        Ok(Self {
            model: self.model.or(body.model),
            version: self.version.or(body.version),
            top_k: self.top_k.or(body.top_k),
            timeout: self.timeout.or(body.timeout),
            is_async: self.is_async,
        })
    }

    fn check(&self) -> Result<(), Problem> {
        if let Some(model) = &self.model {
            check_name(model)?;
        }
        if self.version == Some(0) {
            return Err(Problem::bad_request("version is 0, and versions begin with 1"));
        }
        match self.top_k {
            Some(0) => Err(Problem::bad_request("top_k is 0: ask for one label or more")),
            Some(more) if more > ALL_LABELS => Err(Problem::bad_request(format!(
                "top_k is over {ALL_LABELS}, more labels than any model has"
            ))),
            _ => Ok(()),
        }
    }

    /// How long the answer is waited for.
    ///
    /// # Errors
    /// Where that is no time, or more than is allowed.
    pub fn timeout(&self, config: &Config) -> Result<Duration, Problem> {
        self.time(config.requests.timeout, config.requests.max_timeout, "requests.max_timeout")
    }

    /// For how long a worker may take up a request whose answer nobody waits for.
    ///
    /// # Errors
    /// As [`Self::timeout`].
    pub fn later(&self, config: &Config) -> Result<Duration, Problem> {
        self.time(config.results.timeout, config.results.timeout, "results.timeout")
    }

    fn time(&self, default: Duration, longest: Duration, key: &str) -> Result<Duration, Problem> {
        let Some(text) = &self.timeout else { return Ok(default) };
        let shown = wire::quoted(text);
        match humantime::parse_duration(text) {
            Ok(time) if time < Duration::from_millis(1) => {
                Err(Problem::bad_request(format!("timeout is '{shown}': nothing can be done in no time")))
            }
            Ok(time) if time > longest => Err(Problem::bad_request(format!(
                "timeout is '{shown}', and {} is the longest that this gateway waits ({key})",
                humantime::format_duration(longest)
            ))),
            Ok(time) => Ok(time),
            Err(_) => Err(Problem::bad_request(format!("timeout is '{shown}': write 500ms, 30s or 2min"))),
        }
    }
}

/// Sees that a model could have that name.
///
/// # Errors
/// [`Problem`] where none can: nothing is at such a path, and nothing of it goes any further.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    let possible = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if possible {
        return Ok(());
    }
    Err(Problem::not_found(format!(
        "no model is named '{}': a name is 1 to {MAX_NAME} of a to z, 0 to 9, '-', '_' and '.', a letter or digit first",
        wire::quoted(name)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Asked, Problem> {
        let uri: Uri = format!("/predict?{text}").parse().unwrap();
        Asked::query(&uri)?.or(Asked::default())
    }

    #[test]
    fn the_query_goes_before_the_body() {
        let mut body = Asked::default();
        for (name, value) in [("model", "bird"), ("version", "1"), ("top_k", "3"), ("timeout", "1s")] {
            body.set(name, value).unwrap();
        }
        let asked = Asked { model: Some("cat".into()), ..Asked::default() }.or(body.clone()).unwrap();
        assert_eq!(asked, Asked { model: Some("cat".into()), ..body.clone() });
        let problem = Asked { top_k: Some(1), ..Asked::default() }.or(Asked { top_k: Some(0), ..body });
        assert_eq!(problem.unwrap_err().status(), 400, "what the body says is checked all the same");
        assert!(query("async=true").unwrap().is_async.unwrap());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, status, said) in [
            ("modle=bird", 400, "modle"),
            ("top_k=0", 400, "top_k is 0"),
            ("top_k=1000001", 400, "top_k is over"),
            ("top_k=many", 400, "top_k"),
            ("top_k=-1", 400, "top_k"),
            ("version=0", 400, "version is 0"),
            ("version=latest", 400, "version"),
            ("model=a&model=b", 400, "model"),
            ("async=perhaps", 400, "async"),
            ("model=..%2f..%2fetc", 404, "'../../etc'"),
            ("model=a%0d%0ab", 404, "no model"),
            ("model=", 404, "no model"),
            ("model=.hidden", 404, "no model"),
        ] {
            let problem = query(text).unwrap_err();
            assert_eq!(problem.status(), status, "{text}: {problem:?}");
            assert!(problem.detail().contains(said), "{text}: {problem:?}");
        }
        let problem = Asked::default().set("reply_topic", "x").unwrap_err();
        assert!(problem.detail().contains("reply_topic"));
    }

    #[test]
    fn a_time_is_some_and_not_too_much() {
        let config = Config::default();
        let time = |text: &str| Asked { timeout: Some(text.into()), ..Asked::default() }.timeout(&config);
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(Asked::default().timeout(&config), Ok(config.requests.timeout));
        for text in ["0s", "1ns", "soon", "1h", "-1s", "99999999999999999999s", ""] {
            assert_eq!(time(text).unwrap_err().status(), 400, "{text}");
        }
    }
}
