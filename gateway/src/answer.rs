//! What answers look like in JSON: as on the results topic (docs/protocol.md), so that who reads one reads the other.

use client::{ErrorReply, ModelId, Outcome, Response, Timings};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// The answer to one image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// `success` or `error`.
    #[schema(pattern = "^(success|error)$")]
    pub status: &'static str,
    /// The request's id on Kafka; empty where the image was not sent.
    pub request_id: String,
    /// Who answered; none where that is an error.
    pub model: Option<Model>,
    /// The labels, the most probable first.
    pub predictions: Vec<Label>,
    /// What went wrong; none where nothing did.
    pub error: Option<Fault>,
    /// Where the time in the worker went, in microseconds.
    pub timings_us: Times,
    /// How many images were computed together with this one.
    pub batch_size: u32,
    /// The worker's name; empty where none answered.
    pub worker: String,
}

/// A model version.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The digest of its manifest.
    pub digest: String,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Label {
    /// The class's name.
    pub label: String,
    /// The class's number in the model's own output; none where the answer is that the image shows none of the classes.
    pub index: Option<u32>,
    /// From 0 to 1.
    pub probability: f32,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Fault {
    /// gRPC's canonical code.
    pub code: String,
    /// A sentence that says what to do.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// Where the time went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Times {
    /// Until the image was the net's input.
    pub decode: u64,
    /// Waiting for an instance.
    pub queue: u64,
    /// The batch's time in the net.
    pub inference: u64,
    /// From the record's arrival at the worker to its answer.
    pub total: u64,
}

/// The answers to several images.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Answers {
    /// One for each image, in the order of the images.
    pub answers: Vec<Answer>,
}

/// An asynchronous request that the broker has, or that is not answered yet.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Pending {
    /// `pending`.
    #[schema(pattern = "^pending$")]
    pub status: &'static str,
    /// What the result is asked for by.
    pub id: String,
    /// Where the result will be.
    pub result: String,
    /// Where it is told as an event.
    pub events: String,
}

impl Pending {
    /// For the result of that id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let result = format!("/v1/results/{id}");
        Self { status: "pending", id: id.to_owned(), events: format!("{result}/events"), result }
    }
}

impl From<ModelId> for Model {
    fn from(ModelId { name, version, digest }: ModelId) -> Self {
        Self { name, version, digest }
    }
}

impl From<Timings> for Times {
    fn from(Timings { decode, queue, inference, total }: Timings) -> Self {
        Self { decode, queue, inference, total }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let Response { request_id, outcome, timings, worker } = response;
        let blank = Self { request_id, timings_us: timings.into(), worker, ..Self::default() };
        match outcome {
            Outcome::Success(success) => Self {
                status: "success",
                model: Some(success.model.into()),
                predictions: success
                    .predictions
                    .into_iter()
                    .map(|p| Label { label: p.label, index: p.index, probability: p.probability })
                    .collect(),
                batch_size: success.batch_size,
                ..blank
            },
            Outcome::Error(ErrorReply { code, message, retryable }) => {
                let error = Some(Fault { code: code.name().to_owned(), message, retryable });
                Self { status: "error", error, ..blank }
            }
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let details = problem.details();
        let error = Fault { code: details.code, message: details.detail, retryable: details.retryable };
        Self { status: "error", error: Some(error), ..Self::default() }
    }
}

/// A worker's error as a problem, its labels as an answer.
///
/// # Errors
/// The worker's.
pub fn or_problem(response: Response) -> Result<Answer, Problem> {
    match response.outcome {
        Outcome::Error(error) => Err(error.into()),
        Outcome::Success(_) => Ok(response.into()),
    }
}

#[cfg(test)]
mod tests {
    use client::{ErrorCode, Prediction, Success};

    use super::*;

    /// Field by field what a worker writes.
    #[test]
    fn an_answer_is_what_stands_on_the_results_topic() {
        let model = ModelId { name: "bird".into(), version: 2, digest: "sha256:0".into() };
        let predictions = vec![Prediction { label: "not a bird".into(), index: None, probability: 0.75 }];
        let success = Outcome::Success(Success { model, predictions, batch_size: 3 });
        let error = Outcome::Error(ErrorReply::new(ErrorCode::NotFound, "no"));
        for outcome in [success, error] {
            let timings = Timings { decode: 1, queue: 2, inference: 3, total: 6 };
            let response = Response { request_id: "r".into(), outcome, timings, worker: "w".into() };
            let written: serde_json::Value =
                serde_json::from_slice(&response.encode(client::Encoding::Json)).unwrap();
            assert_eq!(serde_json::to_value(Answer::from(response)).unwrap(), written);
        }
    }
}
