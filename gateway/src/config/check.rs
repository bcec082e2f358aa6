//! What must hold of the keys and between them, each fault a sentence that says what to do.

use std::time::Duration;

use axum::http::HeaderValue;

use super::Config;

/// A key that can't be used, or keys that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(super) String);

impl Config {
    /// # Errors
    /// [`Invalid`], the first that is.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.name.as_deref().is_some_and(|name| !is_name(name)) {
            return fail(
                "name must be 1 to 100 letters, digits, '-', '_' or '.': it stands in each request's ce_source",
            );
        }
        self.connection().check().map_err(Invalid)?;
        self.check_access()?;
        self.check_limits()?;
        self.check_times()?;
        if let Some(fault) = self.review.fault() {
            return fail(fault);
        }
        for origin in &self.http.cors_origins {
            let possible = origin == "*"
                || ((origin.starts_with("http://") || origin.starts_with("https://"))
                    && !origin.ends_with('/')
                    && HeaderValue::from_str(origin).is_ok());
            if !possible {
                return fail(format!(
                    "http.cors_origins holds '{origin}': an origin is written https://example.org, with no path behind it, or '*' for any"
                ));
            }
        }
        self.log
            .filter(client::KAFKA_LOG)
            .map(drop)
            .map_err(|error| Invalid(format!("log.level '{}' is not understood: {error}", self.log.level)))
    }

    fn check_limits(&self) -> Result<(), Invalid> {
        let limits = &self.limits;
        for (key, value) in [
            ("limits.max_image_bytes", limits.max_image_bytes),
            ("limits.max_batch_images", limits.max_batch_images),
            ("limits.max_batch_bytes", limits.max_batch_bytes),
            ("limits.max_in_flight", limits.max_in_flight),
            ("limits.max_in_flight_bytes", limits.max_in_flight_bytes),
            ("http.max_connections", self.http.max_connections),
            ("results.max_looks", self.results.max_looks),
            ("results.max_streams", self.results.max_streams),
        ] {
            if value == 0 {
                return fail(format!("{key} is 0: nothing could be asked"));
            }
        }
        if limits.max_image_bytes > 64 << 20 {
            return fail("limits.max_image_bytes is over 67108864, the most that any worker takes");
        }
        // As base64 an image is a third larger, and beside it there is a little else.
        let one = limits.max_image_bytes / 3 * 4 + (1 << 16);
        if limits.max_in_flight_bytes < one {
            return fail(format!(
                "limits.max_in_flight_bytes, {}, must be {one} or more, so that one image of limits.max_image_bytes fits as base64",
                limits.max_in_flight_bytes
            ));
        }
        if limits.max_batch_images > limits.max_in_flight {
            return fail(
                "limits.max_batch_images must not be over limits.max_in_flight, or the largest batch would never fit",
            );
        }
        if limits.max_batch_bytes > limits.max_in_flight_bytes {
            return fail(
                "limits.max_batch_bytes must not be over limits.max_in_flight_bytes, or the largest batch would never fit",
            );
        }
        // The semaphores behind them count no further, on any machine.
        if limits.max_in_flight_bytes > 1 << 40 || limits.max_in_flight > 1 << 20 {
            return fail(
                "limits.max_in_flight may be up to 1048576 and limits.max_in_flight_bytes up to 1099511627776",
            );
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), Invalid> {
        let day = Duration::from_secs(24 * 3600);
        for (key, time) in [
            ("http.header_timeout", self.http.header_timeout),
            ("http.body_timeout", self.http.body_timeout),
            ("requests.timeout", self.requests.timeout),
            ("requests.max_timeout", self.requests.max_timeout),
            ("results.timeout", self.results.timeout),
            ("results.look", self.results.look),
            ("shutdown.grace", self.shutdown.grace),
        ] {
            if time.is_zero() || time > day {
                return fail(format!("{key} must be more than 0 and no more than a day"));
            }
        }
        if self.shutdown.delay > day {
            return fail("shutdown.delay must be no more than a day");
        }
        if self.requests.timeout > self.requests.max_timeout {
            return fail("requests.timeout must not be over requests.max_timeout");
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

pub(super) fn fail(sentence: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid(sentence.into()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let config: Config = cli::parse(text, Path::new("gateway.yaml")).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_go_together() {
        assert_eq!(check(""), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, said) in [
            ("name: a/b", "name must be"),
            ("name: ''", "name must be"),
            ("topics: {requests: a b}", "topics.requests"),
            ("kafka: {common: {bootstrap.servers: x}}", "bootstrap"),
            ("limits: {max_in_flight: 0}", "limits.max_in_flight is 0"),
            ("limits: {max_in_flight: 8}", "limits.max_batch_images must not"),
            ("limits: {max_in_flight_bytes: 1000000}", "limits.max_in_flight_bytes, 1000000,"),
            ("limits: {max_batch_bytes: 999999999}", "limits.max_batch_bytes must not"),
            ("requests: {timeout: 0s}", "requests.timeout must be"),
            ("requests: {timeout: 10min}", "requests.timeout must not"),
            ("results: {look: 2days}", "results.look must be"),
            ("http: {cors_origins: [example.org]}", "http.cors_origins holds 'example.org'"),
            ("log: {level: loud=very}", "log.level 'loud=very'"),
            ("grpc: {listen: somewhere}", "'somewhere' is neither"),
            ("http: {lisen: x}", "lisen"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let text = "kafka: {sasl_password: hunter2, common: {ssl.key.password: hunter3}}";
        let config: Config = serde_yaml::from_str(text).unwrap();
        for shown in [config.to_yaml(), format!("{config:?}")] {
            assert!(!shown.contains("hunter"), "{shown}");
        }
        assert!(config.to_yaml().contains("[redacted]"));
    }
}
