//! `POST /predict`: one image.

use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use super::Shared;
use crate::answer::{Answer, Pending, or_problem};
use crate::asked::Asked;
use crate::caller::Caller;
use crate::images::{self, Came, ImageFile, ImageForm, OneImage};
use crate::problem::{Problem, ProblemDetails};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/predict", post(predict))
}

/// Name what an image shows
#[utoipa::path(
    post, path = "/predict", tag = "predict",
    params(Asked),
    request_body(content(
        (OneImage = "application/json"),
        (ImageForm = "multipart/form-data"),
        (ImageFile = "image/png"),
        (ImageFile = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "The labels", body = Answer),
        (status = 202, description = "With `async=true`: the broker has the request", body = Pending,
            headers(("location" = String, description = "Where the result will be"))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn predict(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let Came { mut images, asked, room } = images::one(&gateway, request).await?;
    let Some(Ok(image)) = images.pop() else { return Err(Problem::bad_request("there is no image")) };
    let places = gateway.admission.places(1)?;
    if asked.is_async == Some(true) {
        let (claim, time) = gateway.leave(image, &asked, &caller).await?;
        let pending = Pending::of(&crate::later::id(&claim, time));
        let location = [(header::LOCATION, pending.result.clone())];
        return Ok((StatusCode::ACCEPTED, location, Json(pending)).into_response());
    }
    let answered = gateway.ask(image, &asked, &caller, &places).await?;
    drop(room);
    Ok(Json(or_problem(answered)?).into_response())
}
