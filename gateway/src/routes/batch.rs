//! `POST /v1/batch`: several images, an answer for each.

use axum::extract::{Extension, Request, State};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::join_all;

use super::Shared;
use crate::answer::{Answer, Answers};
use crate::asked::Asked;
use crate::caller::Caller;
use crate::images::{self, Came, ImagesForm, SeveralImages};
use crate::problem::{Problem, ProblemDetails};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/batch", post(batch))
}

/// Name what each of several images shows
///
/// There is an answer for each image, in the order of the images, and an error in the place of one that is bad.
#[utoipa::path(
    post, path = "/v1/batch", tag = "predict",
    params(Asked),
    request_body(content(
        (SeveralImages = "application/json"),
        (ImagesForm = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "An answer for each image", body = Answers),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn batch(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Answers>, Problem> {
    let Came { images, asked, room } = images::several(&gateway, request).await?;
    if asked.is_async == Some(true) {
        return Err(Problem::bad_request("async is for one image: send each to /predict?async=true"));
    }
    // A time that can't be is wrong for all of them.
    asked.timeout(&gateway.config)?;
    caller.who.may_ask(asked.model.as_deref())?;
    let places = gateway.admission.places(images.len())?;
    gateway.auth.owe(caller.who.identity(), images.len());
    let answers = images.into_iter().map(async |image| match image {
        Ok(image) => match gateway.ask(image, &asked, &caller, &places).await {
            Ok(response) => response.into(),
            Err(problem) => problem.into(),
        },
        Err(problem) => Answer::from(problem),
    });
    let answers = join_all(answers).await;
    drop(room);
    Ok(Json(Answers { answers }))
}
