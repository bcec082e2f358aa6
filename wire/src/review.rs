//! An image that a person should look at: the record's value is the image file as it came, so that any Kafka tool can write it to a file,
//! and what was said of it stands beside it in a header, as JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::encoding::Encoding;
use crate::event;
use crate::header::{self, Headers};
use crate::result::{ModelId, Prediction};

/// The header that holds a [`Review`], JSON.
pub const HEADER: &str = "mlaas_review";
/// The CloudEvents type of such a record.
pub const TYPE: &str = "mlaas.review.image.v1";

/// The headers of such a record.
pub const HEADERS: [&str; 7] = [
    header::SPEC_VERSION,
    header::ID,
    header::SOURCE,
    header::TYPE,
    header::TIME,
    header::CONTENT_TYPE,
    HEADER,
];

/// No header larger than this is read, in bytes.
const MAX_HEADER_BYTES: usize = 256 << 10;

/// What was said of an image, and why a person should look at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The request's id.
    pub request_id: String,
    /// SHA-256 of the image file: `sha256:` and 64 hexadecimal digits.
    pub image: String,
    /// The version that answered.
    pub model: ModelId,
    /// The likeliest labels, most probable first; more than the answer has, where that has few.
    pub predictions: Vec<Prediction>,
    /// Why it is here.
    pub why: Why,
    /// The worker that computed them.
    pub worker: String,
    /// When.
    pub computed_at: Timestamp,
}

/// Why a person should look at an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The first label is "none of these".
    Rejected,
    /// The first label's probability is below a threshold.
    Below,
    /// The second label is nearly as probable as the first.
    Margin,
    /// It was drawn from all others.
    Sampled,
    /// A reason that only newer workers have.
    #[serde(other)]
    Unknown,
}

impl Review {
    /// The headers of a record that holds that image.
    #[must_use]
    pub fn headers(&self, image: &[u8]) -> Headers {
        let source = format!("/mlaas/worker/{}", event::segment(&self.worker));
        let mut headers = event::attributes(TYPE, &self.request_id, &source, self.computed_at);
        headers.push(header::CONTENT_TYPE, Encoding::Raw.media_type(image));
        headers.push(HEADER, codec::json::write(self));
        headers
    }

    /// Reads a record's headers.
    ///
    /// # Errors
    /// [`DecodeError`] where they are of no such record.
    pub fn decode(headers: &Headers) -> Result<Self, DecodeError> {
        event::check_headers(headers, TYPE)?;
        let value = headers.get(HEADER).unwrap_or_default();
        codec::check_size(value, MAX_HEADER_BYTES)?;
        let review: Self = codec::json::read(value, "review")?;
        if !is_digest(&review.image) {
            let reason = "image is not sha256: and 64 hexadecimal digits";
            return Err(DecodeError::malformed("JSON", "review", reason));
        }
        Ok(review)
    }

    /// The key of what people say of it.
    #[must_use]
    pub fn label_key(&self) -> String {
        crate::label::key(&self.model.name, &self.image)
    }
}

/// Whether that is `sha256:` and 64 lower-case hexadecimal digits.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}
