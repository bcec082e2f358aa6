//! Why an object store did not do what it was asked, in a sentence. What its client says is long, and holds the store's answer as XML.

use std::fmt;

use object_store::Error;

const UNTRUSTED: &str = "its certificate is not trusted here: where an authority of your own has signed it, name that one's certificate in AWS_CA_BUNDLE or SSL_CERT_FILE";

/// What an object store's client says.
#[derive(Debug)]
pub struct StoreFault(Error);

impl StoreFault {
    pub(crate) fn new(error: Error) -> Self {
        Self(error)
    }

    /// Whether the same may go well a little later: the store can't be reached, or is in trouble.
    pub(crate) fn is_passing(&self) -> bool {
        let asks_for_patience = |status| matches!(status, 408 | 429 | 500..);
        matches!(self.0, Error::Generic { .. }) && status(&self.0.to_string()).is_none_or(asks_for_patience)
    }
}

/// The status of the store's answer.
fn status(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

/// What stands between an element's tags.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = text.split_once(&format!("<{name}>"))?;
    Some(behind.split_once("</")?.0.trim()).filter(|text| !text.is_empty())
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        // Where clouds give their own machines credentials: it is asked where the environment names none.
        if text.contains("169.254.169.254") {
            return f.write_str(
                "the environment names no credentials for it, and this machine has none of its own",
            );
        }
        let code = element(&text, "Code").unwrap_or_default();
        match status(&text) {
            Some(404) if code.contains("NoSuchBucket") || code.contains("ContainerNotFound") => {
                f.write_str("there is no such bucket")
            }
            Some(status) => {
                let message = element(&text, "Message").unwrap_or_default();
                let what: Vec<_> = [code, message].into_iter().filter(|part| !part.is_empty()).collect();
                write!(
                    f,
                    "it answers {status}, {}",
                    if what.is_empty() { "and says no more".into() } else { what.join(": ") }
                )
            }
            None => {
                // What all others happened by says the most.
                let causes =
                    std::iter::successors(Some(&self.0 as &dyn std::error::Error), |cause| cause.source());
                let reason = causes.last().map_or(text, ToString::to_string);
                if reason.contains("certificate verify failed") {
                    return f.write_str(UNTRUSTED);
                }
                let reason = reason.rsplit_once(" - ").map_or(reason.as_str(), |(_, reason)| reason);
                let reason = reason.rsplit_once("HTTP error: ").map_or(reason, |(_, reason)| reason);
                f.write_str(reason.lines().next().unwrap_or_default().trim_end_matches(':'))
            }
        }
    }
}

impl std::error::Error for StoreFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> StoreFault {
        StoreFault(Error::Generic { store: "S3", source: text.into() })
    }

    #[test]
    fn what_a_client_says_becomes_a_sentence() {
        let answered = |status: &str, body: &str| {
            of(&format!(
                "Error performing list request: Error performing GET http://store/b?list-type=2 in 2ms - Server returned non-2xx status code: {status}: {body}"
            ))
        };
        let body = "<?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match.</Message></Error>";
        let refused = answered("403 Forbidden", body);
        assert_eq!(
            refused.to_string(),
            "it answers 403, SignatureDoesNotMatch: The request signature we calculated does not match."
        );
        assert!(!refused.is_passing());
        let none = answered("404 Not Found", "<Error><Code>NoSuchBucket</Code><Message>x</Message></Error>");
        assert_eq!(none.to_string(), "there is no such bucket");
        assert!(!none.is_passing());
        let busy = answered("503 Service Unavailable", "");
        assert_eq!(busy.to_string(), "it answers 503, and says no more");
        assert!(busy.is_passing());
        let gone = of(
            "Error performing GET http://127.0.0.1:1/b in 1.9s, after 10 retries, max_retries: 10, retry_timeout: 8s  - HTTP error: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)",
        );
        assert_eq!(
            gone.to_string(),
            "error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)"
        );
        assert!(gone.is_passing());
        let none = of(
            "Error performing PUT http://169.254.169.254/latest/api/token in 2ms - HTTP error: error sending request",
        );
        assert!(none.to_string().starts_with("the environment names no credentials"), "{none}");
    }
}
