//! The Open Inference Protocol, version 2, apart from how it travels: an image file an element in, a probability for each class
//! out. [`tensor`] is what both ways put into bytes; [`models`] what there is to ask; [`repository`] loads and unloads.
//!
//! A request has one input, `image`, of datatype BYTES, and up to two outputs:
//!
//! - `probabilities`, FP32 `[images, classes]`, the columns in the order of the classes' own numbers; or, with the parameter
//!   `classification: k`, BYTES `[images, k]`, each `value:index:label`, where the index is the column;
//! - `label`, BYTES `[images]`: the likeliest answer, which may be that the image shows none of the classes.

pub mod models;
pub mod repository;
pub mod tensor;

use std::time::Duration;

use client::{Outcome, Response, Success};
use futures_util::future::join_all;

use crate::asked::{ALL_LABELS, Asked};
use crate::caller::Caller;
use crate::gateway::Gateway;
use crate::problem::Problem;
use tensor::{Data, Tensor};

/// The one input.
pub const IMAGE: &str = "image";
/// The first output.
pub const PROBABILITIES: &str = "probabilities";
/// The second.
pub const LABEL: &str = "label";

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inference {
    /// The model's name.
    pub model: String,
    /// Its version; the one in service where there is none.
    pub version: Option<u32>,
    /// The caller's own id of the request.
    pub id: String,
    /// Image files.
    pub images: Vec<Vec<u8>>,
    /// What is to come back.
    pub outputs: Vec<Wanted>,
    /// How long to wait.
    pub timeout: Option<Duration>,
}

/// An output that is to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub output: Output,
    /// As so many classes, where it is not 0.
    pub classification: usize,
    /// As bytes behind the JSON; of gRPC no matter.
    pub binary: bool,
}

/// An output that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A probability for each class.
    Probabilities,
    /// The likeliest answer.
    Label,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The model that answered.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// One for each output that was asked for, in that order.
    pub outputs: Vec<Tensor>,
}

impl Output {
    /// # Errors
    /// Where there is none of that name.
    pub fn named(name: &str) -> Result<Self, Problem> {
        match name {
            PROBABILITIES => Ok(Self::Probabilities),
            LABEL => Ok(Self::Label),
            _ => Err(Problem::bad_request(format!(
                "there is no output '{}': ask for {PROBABILITIES} or {LABEL}",
                wire::quoted(name)
            ))),
        }
    }
}

impl Wanted {
    /// All outputs, as they are where none is asked for.
    #[must_use]
    pub fn all(binary: bool) -> Vec<Self> {
        [Output::Probabilities, Output::Label].map(|output| Self { output, classification: 0, binary }).into()
    }
}

/// A version as the protocol writes it: decimal, and empty for the one in service.
///
/// # Errors
/// Where it is not.
pub fn version(text: &str) -> Result<Option<u32>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(version @ 1..) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(version)),
        _ => Err(Problem::bad_request(format!(
            "'{}' is no version: write a number from 1 on, or none for the one in service",
            wire::quoted(text)
        ))),
    }
}

/// Sees that an input is the one that there is, for that many elements.
///
/// # Errors
/// Where it is not.
pub fn check_input(name: &str, datatype: &str, shape: &[i64], elements: usize) -> Result<(), Problem> {
    if name != IMAGE {
        return Err(Problem::bad_request(format!(
            "there is no input '{}': the only one is {IMAGE}",
            wire::quoted(name)
        )));
    }
    if datatype != tensor::BYTES {
        return Err(Problem::bad_request(format!(
            "input {IMAGE} has datatype '{}', and only BYTES is taken, an image file an element: pixels as FP32 or UINT8 are not taken",
            wire::quoted(datatype)
        )));
    }
    let fits = match shape {
        [images] | [images, 1] => i64::try_from(elements) == Ok(*images),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "input {IMAGE} has shape {shape:?} and {elements} elements: the shape is [images] or [images, 1], with an image file an element"
    )))
}

/// Asks the workers.
///
/// # Errors
/// [`Problem`]: the first image's that has one, by its place.
pub async fn infer(gateway: &Gateway, inference: Inference, caller: &Caller) -> Result<Inferred, Problem> {
    let Inference { model, version, images, outputs, timeout, .. } = inference;
    let limits = &gateway.config.limits;
    let count = images.len();
    if count == 0 {
        return Err(Problem::bad_request("there is no image: send one or more"));
    }
    if count > limits.max_batch_images {
        return Err(Problem::bad_request(format!(
            "{count} images are more than the {} that are taken at once",
            limits.max_batch_images
        )));
    }
    for (place, image) in images.iter().enumerate() {
        if image.is_empty() {
            return Err(Problem::bad_request(format!(
                "image {place} is empty: send the bytes of an image file"
            )));
        }
        if image.len() > limits.max_image_bytes {
            return Err(Problem::too_large(&format!("image {place}"), limits.max_image_bytes));
        }
    }
    let time = timeout.unwrap_or(gateway.config.requests.timeout).min(gateway.config.requests.max_timeout);
    let ends = tokio::time::Instant::now() + time;
    let wants_all = outputs.iter().any(|wanted| wanted.output == Output::Probabilities);
    let asked = Asked {
        model: Some(model),
        version,
        top_k: Some(if wants_all { ALL_LABELS } else { 1 }),
        ..Asked::default()
    }
    .or(Asked::default())?;
    caller.who.may_ask(asked.model.as_deref())?;
    let places = gateway.admission.places(count)?;
    gateway.auth.owe(caller.who.identity(), count);
    // Kept until it is known that all are of one version.
    let again = if count > 1 && version.is_none() { images.clone() } else { Vec::new() };
    let ask = async |place: usize, image: Vec<u8>, asked: &Asked| {
        let left = ends.saturating_duration_since(tokio::time::Instant::now());
        let response = gateway.ask_within(left, image, asked, caller, &places).await?;
        success(response, place)
    };
    let answers =
        join_all(images.into_iter().enumerate().map(|(place, image)| ask(place, image, &asked))).await;
    let mut answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let Some(first) = answers.first().map(|success| success.model.clone()) else {
        return Err(Problem::internal("no answer came"));
    };
    // Versions share the requests while one is tried out, or is just promoted: those of another are asked of the first's.
    let pinned = Asked { version: Some(first.version), ..asked.clone() };
    let others = again.into_iter().enumerate().filter(|(place, _)| answers[*place].model != first);
    let others: Vec<_> =
        join_all(others.map(async |(place, image)| (place, ask(place, image, &pinned).await))).await;
    for (place, answer) in others {
        answers[place] = answer?;
    }
    if answers.iter().any(|success| success.model != first) {
        return Err(Problem::unavailable(
            "the images were answered by different versions of the model: name a version",
        ));
    }
    let outputs = outputs.iter().map(|wanted| output(wanted, &answers)).collect::<Result<_, _>>()?;
    Ok(Inferred { model: first.name, version: first.version, outputs })
}

fn success(response: Response, place: usize) -> Result<Success, Problem> {
    match response.outcome {
        Outcome::Success(success) => Ok(success),
        Outcome::Error(mut error) => {
            error.message = format!("image {place}: {}", error.message);
            Err(error.into())
        }
    }
}

fn output(wanted: &Wanted, answers: &[Success]) -> Result<Tensor, Problem> {
    let images = answers.len();
    if wanted.output == Output::Label {
        let labels = answers.iter().map(|answer| {
            answer.predictions.first().map(|first| first.label.clone().into_bytes()).unwrap_or_default()
        });
        return Ok(Tensor { name: LABEL, shape: vec![images], data: Data::Bytes(labels.collect()) });
    }
    // Of the classes alone: that it is none of them is no class.
    let rows: Vec<Vec<(u32, &str, f32)>> = answers
        .iter()
        .map(|answer| {
            let classes = answer.predictions.iter();
            let mut row: Vec<_> =
                classes.filter_map(|p| Some((p.index?, p.label.as_str(), p.probability))).collect();
            row.sort_by_key(|(index, ..)| *index);
            row
        })
        .collect();
    let classes = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != classes) {
        return Err(Problem::internal(
            "a worker answered with another number of classes than for the image before",
        ));
    }
    if wanted.classification == 0 {
        let values = rows.iter().flatten().map(|(.., probability)| *probability).collect();
        return Ok(Tensor { name: PROBABILITIES, shape: vec![images, classes], data: Data::Fp32(values) });
    }
    let k = wanted.classification.min(classes);
    let best = rows.iter().flat_map(|row| {
        let mut ranked: Vec<_> = row.iter().enumerate().collect();
        ranked.sort_by(|(i, a), (j, b)| b.2.total_cmp(&a.2).then(i.cmp(j)));
        let text =
            |(column, (_, label, value)): (usize, &(u32, &str, f32))| format!("{value:.6}:{column}:{label}");
        ranked.into_iter().take(k).map(text).map(String::into_bytes).collect::<Vec<_>>()
    });
    Ok(Tensor { name: PROBABILITIES, shape: vec![images, k], data: Data::Bytes(best.collect()) })
}

#[cfg(test)]
mod tests {
    use client::{ModelId, Prediction};

    use super::*;

    fn answer(predictions: &[(&str, Option<u32>, f32)]) -> Success {
        let prediction = |(label, index, probability): &(&str, Option<u32>, f32)| Prediction {
            label: (*label).to_owned(),
            index: *index,
            probability: *probability,
        };
        let model = ModelId { name: "bird".into(), version: 1, digest: String::new() };
        Success { model, predictions: predictions.iter().map(prediction).collect(), batch_size: 1 }
    }

    fn wanted(output: Output, classification: usize) -> Wanted {
        Wanted { output, classification, binary: false }
    }

    #[test]
    fn columns_are_classes_in_the_order_of_their_numbers_and_none_of_these_is_a_label() {
        let answers = [
            answer(&[("macaw", Some(88), 0.5), ("hen", Some(8), 0.25), ("cock", Some(7), 0.125)]),
            answer(&[
                ("not a bird", None, 0.9),
                ("hen", Some(8), 0.0625),
                ("cock", Some(7), 0.03125),
                ("macaw", Some(88), 0.0),
            ]),
        ];
        let all = output(&wanted(Output::Probabilities, 0), &answers).unwrap();
        assert_eq!(all.shape, [2, 3]);
        assert_eq!(all.data, Data::Fp32(vec![0.125, 0.25, 0.5, 0.03125, 0.0625, 0.0]));
        let text = |tensor: Tensor| match tensor.data {
            Data::Bytes(elements) => {
                elements.into_iter().map(|e| String::from_utf8(e).unwrap()).collect::<Vec<_>>()
            }
            Data::Fp32(_) => panic!("not text"),
        };
        let labels = output(&wanted(Output::Label, 0), &answers).unwrap();
        assert_eq!(
            (labels.shape.clone(), text(labels)),
            (vec![2], vec!["macaw".to_owned(), "not a bird".to_owned()])
        );
        let best = output(&wanted(Output::Probabilities, 2), &answers).unwrap();
        assert_eq!(best.shape, [2, 2]);
        assert_eq!(text(best), ["0.500000:2:macaw", "0.250000:1:hen", "0.062500:1:hen", "0.031250:0:cock"]);
        let best = output(&wanted(Output::Probabilities, 99), &answers).unwrap();
        assert_eq!(best.shape, [2, 3], "no more than there are");
    }

    #[test]
    fn an_input_is_the_one_that_there_is() {
        check_input("image", "BYTES", &[2], 2).unwrap();
        check_input("image", "BYTES", &[2, 1], 2).unwrap();
        for (name, datatype, shape, said) in [
            ("INPUT__0", "BYTES", &[2][..], "'INPUT__0'"),
            ("image", "FP32", &[2, 3, 224, 224], "FP32 or UINT8 are not taken"),
            ("image", "BYTES", &[3], "[3]"),
            ("image", "BYTES", &[-1], "[-1]"),
            ("image", "BYTES", &[1, 2], "[1, 2]"),
            ("image", "BYTES", &[2, 1, 1], "[2, 1, 1]"),
            ("image", "BYTES", &[], "[]"),
        ] {
            let problem = check_input(name, datatype, shape, 2).unwrap_err();
            assert!(problem.detail().contains(said), "{problem:?}");
        }
    }

    #[test]
    fn a_version_is_a_number() {
        assert_eq!(version(""), Ok(None));
        assert_eq!(version("12"), Ok(Some(12)));
        for text in ["0", "-1", "+1", "1.0", "latest", "99999999999", " 1"] {
            assert_eq!(version(text).unwrap_err().status(), 400, "{text}");
        }
    }
}
