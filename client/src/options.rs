//! What is asked about an image.

use std::time::Duration;

use wire::{Encoding, TraceContext};

/// What is asked about an image. What is `None` the worker's configuration decides. Begin with [`Options::model`] or the
/// default and change what is to differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The name of the model.
    pub model: Option<String>,
    /// The version of that model.
    pub version: Option<u32>,
    /// How many predictions, most probable first.
    pub top_k: Option<u32>,
    /// Lower goes first.
    pub priority: Option<u32>,
    /// How the request is encoded, and with it the answer.
    pub format: Encoding,
    /// The record's key, where requests of the same key are to be taken in order; the request id where `None`.
    pub key: Option<String>,
    /// How long to wait for the answer, or for the broker's acknowledgement where no answer is waited for;
    /// [`crate::ClientConfig::timeout`] where `None`. Not zero; a very large one is no limit.
    pub timeout: Option<Duration>,
    /// After how long workers drop the request, counted from when it is sent. Where `None` that is the end of the time-out
    /// if the answer is waited for, and never if it is not. Not zero.
    pub deadline: Option<Duration>,
    /// Carried through.
    pub trace: TraceContext,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: None,
            version: None,
            top_k: None,
            priority: None,
            format: Encoding::Bincode,
            key: None,
            timeout: None,
            deadline: None,
            trace: TraceContext::default(),
        }
    }
}

impl Options {
    /// Everything left to the worker but the model.
    #[must_use]
    pub fn model(name: impl Into<String>) -> Self {
        Self { model: Some(name.into()), ..Self::default() }
    }

    /// Of that version of the model.
    #[must_use]
    pub fn version(self, version: u32) -> Self {
        Self { version: Some(version), ..self }
    }

    /// With that many predictions.
    #[must_use]
    pub fn top_k(self, top_k: u32) -> Self {
        Self { top_k: Some(top_k), ..self }
    }

    /// With that priority; lower goes first.
    #[must_use]
    pub fn priority(self, priority: u32) -> Self {
        Self { priority: Some(priority), ..self }
    }

    /// In that encoding.
    #[must_use]
    pub fn format(self, format: Encoding) -> Self {
        Self { format, ..self }
    }

    /// With that record key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// With that time to wait.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// With that time after which workers drop it.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// In that trace.
    #[must_use]
    pub fn trace(self, trace: TraceContext) -> Self {
        Self { trace, ..self }
    }
}
