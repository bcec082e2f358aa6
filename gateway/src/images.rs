//! The images of a request: a raw file, JSON with base64, or a form with files.

use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::admission::Room;
use crate::asked::Asked;
use crate::body;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// What stands beside the images in JSON and in forms, in bytes.
const BESIDE: usize = 1 << 16;

/// The most fields of a form that are no images.
const MAX_FIELDS: usize = 16;

/// The bytes of an image file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "read as it is; this describes it")]
pub struct ImageFile(Vec<u8>);

/// One image in JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneImage {
    /// The bytes of an image file in base64 (RFC 4648, padded).
    #[schema(content_encoding = "base64")]
    image: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, format = Int64)]
    version: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<u32>,
    #[serde(default)]
    timeout: Option<String>,
}

/// Several images in JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeveralImages {
    /// The bytes of image files in base64 (RFC 4648, padded).
    images: Vec<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, format = Int64)]
    version: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<u32>,
    #[serde(default)]
    timeout: Option<String>,
}

/// One image as a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read part by part; this describes it")]
pub struct ImageForm {
    /// An image file.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    model: Option<String>,
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, format = Int64)]
    version: Option<u32>,
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<u32>,
    timeout: Option<String>,
}

/// Several images as a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read part by part; this describes it")]
pub struct ImagesForm {
    /// Image files, each a part of its own of this name.
    #[schema(value_type = Vec<String>, format = Binary)]
    image: Vec<Vec<u8>>,
    model: Option<String>,
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, format = Int64)]
    version: Option<u32>,
    #[schema(minimum = 1, maximum = 1_000_000)]
    top_k: Option<u32>,
    timeout: Option<String>,
}

/// What came. An image of several that can't be read is a problem of its own.
#[derive(Debug)]
pub struct Came {
    /// The images, in order.
    pub images: Vec<Result<Vec<u8>, Problem>>,
    /// What is asked about them.
    pub asked: Asked,
    /// Their bytes are counted as long as this lives.
    pub room: Room,
}

enum Kind {
    Raw,
    Json,
    Form,
}

/// Reads a request with one image.
///
/// # Errors
/// [`Problem`], whatever is wrong with it.
pub async fn one(gateway: &Gateway, request: Request) -> Result<Came, Problem> {
    let limit = gateway.config.limits.max_image_bytes;
    let (parts, body) = request.into_parts();
    let query = Asked::query(&parts.uri);
    let kind = kind(&parts.headers, true);
    // What is wrong with the head is said without the body, which is read as if it were too large.
    let (query, kind) = match (query, kind) {
        (Ok(query), Ok(kind)) => (query, kind),
        (Err(problem), _) | (_, Err(problem)) => return refuse(gateway, &parts.headers, body, problem).await,
    };
    let most = match kind {
        Kind::Raw => limit,
        Kind::Json => limit.div_ceil(3) * 4 + BESIDE,
        Kind::Form => limit + BESIDE,
    };
    let held = body::read(gateway, &parts.headers, body, "the body", most).await?;
    let (images, asked) = match kind {
        Kind::Raw => (vec![Ok(held.bytes.into())], Asked::default()),
        Kind::Json => {
            let OneImage { image, model, version, top_k, timeout } = json(&held.bytes)?;
            (vec![Ok(decode(&image)?)], Asked { model, version, top_k, timeout, is_async: None })
        }
        Kind::Form => form(parts, held.bytes.into(), 1).await?,
    };
    let [Ok(image)] = &images[..] else {
        return Err(Problem::bad_request("the form has no image: send one part with a file, named image"));
    };
    check(image, limit)?;
    Ok(Came { images, asked: query.or(asked)?, room: held.room })
}

/// Reads a request with several images.
///
/// # Errors
/// [`Problem`], whatever is wrong with all of it.
pub async fn several(gateway: &Gateway, request: Request) -> Result<Came, Problem> {
    let limits = &gateway.config.limits;
    let (parts, body) = request.into_parts();
    let query = Asked::query(&parts.uri);
    let kind = kind(&parts.headers, false);
    let (query, kind) = match (query, kind) {
        (Ok(query), Ok(kind)) => (query, kind),
        (Err(problem), _) | (_, Err(problem)) => return refuse(gateway, &parts.headers, body, problem).await,
    };
    let held = body::read(gateway, &parts.headers, body, "the body", limits.max_batch_bytes).await?;
    let (mut images, asked) = match kind {
        Kind::Json => {
            let SeveralImages { images, model, version, top_k, timeout } = json(&held.bytes)?;
            too_many(images.len(), limits.max_batch_images)?;
            let images = images.iter().map(|image| decode(image)).collect();
            (images, Asked { model, version, top_k, timeout, is_async: None })
        }
        Kind::Form | Kind::Raw => form(parts, held.bytes.into(), limits.max_batch_images).await?,
    };
    if images.is_empty() {
        return Err(Problem::bad_request("there is no image: send one or more"));
    }
    for image in &mut images {
        if let Ok(bytes) = image
            && let Err(problem) = check(bytes, limits.max_image_bytes)
        {
            *image = Err(problem);
        }
    }
    Ok(Came { images, asked: query.or(asked)?, room: held.room })
}

async fn refuse(
    gateway: &Gateway,
    headers: &HeaderMap,
    body: Body,
    problem: Problem,
) -> Result<Came, Problem> {
    // A body that is small is read to its end, so that the connection can be used again.
    drop(body::read(gateway, headers, body, "the body", BESIDE).await);
    Err(problem)
}

fn kind(headers: &HeaderMap, one: bool) -> Result<Kind, Problem> {
    let media = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let media = media.as_deref().unwrap_or_default();
    let bare = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &*bare {
        "application/json" => Ok(Kind::Json),
        "multipart/form-data" => Ok(Kind::Form),
        "application/octet-stream" if one => Ok(Kind::Raw),
        image if one && image.starts_with("image/") => Ok(Kind::Raw),
        _ => {
            let kinds = if one {
                "image/..., application/json or multipart/form-data"
            } else {
                "application/json or multipart/form-data"
            };
            let given = if bare.is_empty() {
                "none is given".to_owned()
            } else {
                format!("it is '{}'", wire::quoted(&bare))
            };
            Err(Problem::media_type(format!("content-type must be {kinds}, and {given}")))
        }
    }
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the JSON is not understood: {error}")))
}

fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|error| {
        Problem::bad_request(format!("an image is not base64 (RFC 4648, padded, no line breaks): {error}"))
    })
}

fn check(image: &[u8], limit: usize) -> Result<(), Problem> {
    if image.is_empty() {
        return Err(Problem::bad_request("an image is empty: send the bytes of an image file"));
    }
    if image.len() > limit { Err(Problem::too_large("an image", limit)) } else { Ok(()) }
}

fn too_many(images: usize, most: usize) -> Result<(), Problem> {
    match images {
        more if more > most => {
            Err(Problem::bad_request(format!("there are more images than the {most} that are taken at once")))
        }
        _ => Ok(()),
    }
}

/// Reads a form: each part with a file name, or named as images are, is an image, and the others say what is asked.
async fn form(
    parts: Parts,
    body: Body,
    most: usize,
) -> Result<(Vec<Result<Vec<u8>, Problem>>, Asked), Problem> {
    let broken =
        |error: &dyn std::fmt::Display| Problem::bad_request(format!("the form is not understood: {error}"));
    let mut form = Multipart::from_request(Request::from_parts(parts, body), &())
        .await
        .map_err(|e| broken(&e.body_text()))?;
    let (mut images, mut asked) = (Vec::new(), Asked::default());
    let mut fields = 0;
    while let Some(field) = form.next_field().await.map_err(|e| broken(&e.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        if field.file_name().is_some() || matches!(&*name, "image" | "images" | "file" | "files") {
            too_many(images.len() + 1, most)?;
            images.push(Ok(field.bytes().await.map_err(|e| broken(&e.body_text()))?.into()));
        } else {
            // Each costs time, however little it says.
            fields += 1;
            if fields > MAX_FIELDS {
                return Err(Problem::bad_request(format!(
                    "the form has more than {MAX_FIELDS} fields beside its images"
                )));
            }
            let value = field.text().await.map_err(|e| broken(&e.body_text()))?;
            asked.set(&name, &value)?;
        }
    }
    Ok((images, asked))
}
