//! From messages to what is asked, and from what came back to a message.

use std::collections::HashMap;
use std::time::Duration;

use super::pb::infer_parameter::ParameterChoice;
use super::pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::pb::model_infer_response::InferOutputTensor;
use super::pb::{InferParameter, ModelInferRequest, ModelInferResponse, ModelRepositoryParameter};
use crate::infer::{self, Inference, Inferred, Output, Wanted, repository, tensor};
use crate::problem::Problem;

/// What a message asks.
///
/// # Errors
/// Where it makes no sense.
pub fn read(request: ModelInferRequest, most: usize) -> Result<Inference, Problem> {
    let ModelInferRequest {
        model_name,
        model_version,
        id,
        parameters,
        mut inputs,
        outputs,
        mut raw_input_contents,
    } = request;
    let count = inputs.len();
    let (Some(InferInputTensor { name, datatype, shape, contents, .. }), true) = (inputs.pop(), count == 1)
    else {
        return Err(Problem::bad_request(format!("there are {count} inputs: send one, {}", infer::IMAGE)));
    };
    if name != infer::IMAGE || datatype != tensor::BYTES {
        infer::check_input(&name, &datatype, &shape, 0)?;
    }
    let images = match (raw_input_contents.pop(), contents) {
        (Some(raw), None) if raw_input_contents.is_empty() => tensor::elements(&raw, most)?,
        (None, Some(contents)) => contents.bytes_contents,
        (None, None) => Vec::new(),
        _ => {
            return Err(Problem::bad_request(
                "an input has either contents or one element of raw_input_contents",
            ));
        }
    };
    infer::check_input(&name, &datatype, &shape, images.len())?;
    let outputs = if outputs.is_empty() {
        Wanted::all(true)
    } else {
        outputs.iter().map(wanted).collect::<Result<_, _>>()?
    };
    let timeout = whole(&parameters, "timeout")?.filter(|&time| time > 0).map(Duration::from_micros);
    let version = infer::version(&model_version)?;
    Ok(Inference { model: model_name, version, id, images, outputs, timeout })
}

fn wanted(output: &InferRequestedOutputTensor) -> Result<Wanted, Problem> {
    let classification = whole(&output.parameters, "classification")?.unwrap_or(0);
    Ok(Wanted {
        output: Output::named(&output.name)?,
        classification: usize::try_from(classification).unwrap_or(usize::MAX),
        binary: true,
    })
}

fn whole(parameters: &HashMap<String, InferParameter>, name: &str) -> Result<Option<u64>, Problem> {
    let value = match parameters.get(name).and_then(|parameter| parameter.parameter_choice.as_ref()) {
        None => return Ok(None),
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(*number).ok(),
        Some(ParameterChoice::Uint64Param(number)) => Some(*number),
        Some(_) => None,
    };
    value
        .map(Some)
        .ok_or_else(|| Problem::bad_request(format!("parameter {name} must be a whole number from 0 on")))
}

/// Which version a load or an unload names.
///
/// # Errors
/// Where a parameter is not known, or not understood.
pub fn repository_version(
    parameters: &HashMap<String, ModelRepositoryParameter>,
) -> Result<Option<u32>, Problem> {
    use super::pb::model_repository_parameter::ParameterChoice;
    let (mut config, mut version) = (None, None);
    for (name, parameter) in parameters {
        match (name.as_str(), parameter.parameter_choice.as_ref()) {
            // Nothing depends on a model here.
            ("unload_dependents", Some(ParameterChoice::BoolParam(_))) => {}
            (repository::CONFIG, Some(ParameterChoice::StringParam(text))) => config = Some(text.as_str()),
            ("version", Some(ParameterChoice::StringParam(text))) => version = Some(text.clone()),
            ("version", Some(ParameterChoice::Int64Param(number))) => version = Some(number.to_string()),
            _ => {
                return Err(Problem::bad_request(format!(
                    "parameter '{}' is not understood: version and config are",
                    wire::quoted(name)
                )));
            }
        }
    }
    repository::version_of(config, version.as_deref())
}

/// The message of what came back, its tensors in raw bytes.
#[must_use]
pub fn write(inferred: Inferred, id: String) -> ModelInferResponse {
    let raw_output_contents = inferred.outputs.iter().map(tensor::Tensor::raw).collect();
    let output = |tensor: &tensor::Tensor| InferOutputTensor {
        name: tensor.name.to_owned(),
        datatype: tensor.datatype().to_owned(),
        shape: tensor.dimensions(),
        ..InferOutputTensor::default()
    };
    ModelInferResponse {
        outputs: inferred.outputs.iter().map(output).collect(),
        model_name: inferred.model,
        model_version: inferred.version.to_string(),
        id,
        raw_output_contents,
        ..ModelInferResponse::default()
    }
}
