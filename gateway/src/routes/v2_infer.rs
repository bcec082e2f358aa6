//! Inference by the Open Inference Protocol's REST: JSON, and tensors in bytes behind it (extension `binary_tensor_data`).

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Shared;
use crate::body;
use crate::caller::Caller;
use crate::infer::tensor::{self, Data, Tensor};
use crate::infer::{self, Inference, Inferred, Output, Wanted};
use crate::problem::{Problem, ProblemDetails};

/// How many bytes of a body are JSON, where tensors in bytes stand behind it.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// What is asked.
#[derive(Deserialize, ToSchema)]
pub(crate) struct InferRequest {
    /// Comes back with the answer.
    #[serde(default)]
    id: String,
    /// `timeout` in microseconds; `binary_data_output`: all outputs in bytes behind the JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    /// One: `image`, BYTES.
    #[schema(min_items = 1, max_items = 1)]
    inputs: Vec<InputTensor>,
    /// All where there are none.
    #[serde(default)]
    outputs: Vec<OutputRequest>,
}

/// An input.
#[derive(Deserialize, ToSchema)]
struct InputTensor {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    /// `binary_data_size`: so many bytes behind the JSON are this one's.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    /// Image files in base64, where they are not behind the JSON.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    data: Value,
}

/// An output that is asked for.
#[derive(Deserialize, ToSchema)]
struct OutputRequest {
    name: String,
    /// `classification`: as so many classes; `binary_data`: in bytes behind the JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
}

/// What comes back.
#[derive(Serialize, ToSchema)]
pub(crate) struct InferResponse {
    model_name: String,
    model_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    outputs: Vec<OutputTensor>,
}

/// An output.
#[derive(Serialize, ToSchema)]
struct OutputTensor {
    name: &'static str,
    shape: Vec<i64>,
    datatype: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<OutputData>,
}

/// The elements of an output.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum OutputData {
    Numbers(Vec<f32>),
    Texts(Vec<String>),
}

/// Ask a model about images
#[utoipa::path(post, path = "/v2/models/{model}/infer", tag = "open inference protocol",
    params(("model" = String, Path)), request_body = InferRequest, responses(
    (status = 200, description = "Probabilities and labels", body = InferResponse),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn infer(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    answer(gateway, caller, model, None, request).await
}

/// Ask a version of a model about images
#[utoipa::path(post, path = "/v2/models/{model}/versions/{version}/infer", tag = "open inference protocol",
    params(("model" = String, Path), ("version" = String, Path)), request_body = InferRequest, responses(
    (status = 200, description = "Probabilities and labels", body = InferResponse),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn infer_version(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let version = infer::version(&version)?;
    answer(gateway, caller, model, version, request).await
}

async fn answer(
    gateway: Shared,
    caller: Caller,
    model: String,
    version: Option<u32>,
    request: Request,
) -> Result<Response, Problem> {
    crate::asked::check_name(&model)?;
    let limits = &gateway.config.limits;
    let (parts, body) = request.into_parts();
    let held = body::read(&gateway, &parts.headers, body, "the body", limits.max_batch_bytes).await?;
    let (json, binary) = parted(&parts.headers, &held.bytes)?;
    let inference = read(json, binary, limits.max_batch_images)?;
    let id = inference.id.clone();
    let wanted = inference.outputs.clone();
    let inferred = infer::infer(&gateway, Inference { model, version, ..inference }, &caller).await?;
    drop(held.room);
    write(inferred, id, &wanted)
}

/// The JSON of a body, and what stands behind it.
fn parted<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Problem> {
    let Some(length) = headers.get(JSON_LENGTH) else { return Ok((body, &[])) };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    length.and_then(|length| body.split_at_checked(length)).ok_or_else(|| {
        Problem::bad_request(format!(
            "{JSON_LENGTH} must say how many of the body's {} bytes are JSON",
            body.len()
        ))
    })
}

fn read(json: &[u8], binary: &[u8], most: usize) -> Result<Inference, Problem> {
    let request: InferRequest = serde_json::from_slice(json)
        .map_err(|error| Problem::bad_request(format!("the JSON is not understood: {error}")))?;
    let InferRequest { id, parameters, inputs, outputs } = request;
    let [input] = &inputs[..] else {
        return Err(Problem::bad_request(format!(
            "there are {} inputs: send one, {}",
            inputs.len(),
            infer::IMAGE
        )));
    };
    // Before its elements: of another datatype they would not be understood.
    if input.name != infer::IMAGE || input.datatype != tensor::BYTES {
        infer::check_input(&input.name, &input.datatype, &input.shape, 0)?;
    }
    let size = whole(&input.parameters, "binary_data_size")?;
    let images = match (size, &input.data) {
        (Some(size), Value::Null) if size == binary.len() as u64 => tensor::elements(binary, most)?,
        (Some(size), Value::Null) => {
            return Err(Problem::bad_request(format!(
                "binary_data_size is {size}, and {} bytes stand behind the JSON",
                binary.len()
            )));
        }
        (None, data) if binary.is_empty() => {
            let mut images = Vec::new();
            flatten(data, &mut images, most)?;
            images
        }
        _ => {
            return Err(Problem::bad_request(
                "an input has either data or bytes behind the JSON, with their binary_data_size",
            ));
        }
    };
    infer::check_input(&input.name, &input.datatype, &input.shape, images.len())?;
    let all_binary = flag(&parameters, "binary_data_output")?.unwrap_or(false);
    let outputs = if outputs.is_empty() {
        Wanted::all(all_binary)
    } else {
        outputs.iter().map(|output| wanted(output, all_binary)).collect::<Result<_, _>>()?
    };
    let timeout = whole(&parameters, "timeout")?.filter(|&time| time > 0).map(Duration::from_micros);
    Ok(Inference { id, images, outputs, timeout, ..Inference::default() })
}

fn wanted(output: &OutputRequest, all_binary: bool) -> Result<Wanted, Problem> {
    let classification = whole(&output.parameters, "classification")?.unwrap_or(0);
    Ok(Wanted {
        output: Output::named(&output.name)?,
        classification: usize::try_from(classification).unwrap_or(usize::MAX),
        binary: flag(&output.parameters, "binary_data")?.unwrap_or(all_binary),
    })
}

/// Elements row by row, whatever their nesting says of the shape.
fn flatten(data: &Value, images: &mut Vec<Vec<u8>>, most: usize) -> Result<(), Problem> {
    match data {
        Value::Array(several) => several.iter().try_for_each(|one| flatten(one, images, most)),
        Value::String(_) if images.len() == most => {
            Err(Problem::bad_request(format!("there are more images than the {most} that are taken at once")))
        }
        Value::String(text) => {
            let image = STANDARD.decode(text).map_err(|error| {
                Problem::bad_request(format!(
                    "element {} is not base64 (RFC 4648, padded): {error}",
                    images.len()
                ))
            })?;
            images.push(image);
            Ok(())
        }
        _ => Err(Problem::bad_request(
            "data must be a list of image files in base64, or stand in bytes behind the JSON",
        )),
    }
}

fn whole(parameters: &Map<String, Value>, name: &str) -> Result<Option<u64>, Problem> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            Problem::bad_request(format!("parameter {name} must be a whole number from 0 on"))
        }),
    }
}

fn flag(parameters: &Map<String, Value>, name: &str) -> Result<Option<bool>, Problem> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_bool()
            .map(Some)
            .ok_or_else(|| Problem::bad_request(format!("parameter {name} must be true or false"))),
    }
}

fn write(inferred: Inferred, id: String, wanted: &[Wanted]) -> Result<Response, Problem> {
    let mut binary = Vec::new();
    let mut outputs = Vec::new();
    for (tensor, wanted) in inferred.outputs.iter().zip(wanted) {
        let mut parameters = Map::new();
        let data = if wanted.binary {
            let raw = tensor.raw();
            parameters.insert("binary_data_size".to_owned(), raw.len().into());
            binary.extend_from_slice(&raw);
            None
        } else {
            Some(json(tensor))
        };
        let (shape, datatype) = (tensor.dimensions(), tensor.datatype());
        outputs.push(OutputTensor { name: tensor.name, shape, datatype, parameters, data });
    }
    let response = InferResponse {
        model_name: inferred.model,
        model_version: inferred.version.to_string(),
        id,
        outputs,
    };
    if binary.is_empty() {
        return Ok(Json(response).into_response());
    }
    let mut bytes = serde_json::to_vec(&response).map_err(|error| Problem::internal(error.to_string()))?;
    let headers = [
        (JSON_LENGTH, HeaderValue::from(bytes.len())),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
    ];
    bytes.extend(binary);
    Ok((headers, bytes).into_response())
}

fn json(tensor: &Tensor) -> OutputData {
    match &tensor.data {
        Data::Fp32(values) => OutputData::Numbers(values.clone()),
        Data::Bytes(elements) => OutputData::Texts(
            elements.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect(),
        ),
    }
}
