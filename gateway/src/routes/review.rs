//! `/v1/review`: images that people should look at, what was said of each, and what they say themselves.

mod shapes;

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use client::review::{Desk, Order, Place, Shown, folder_name};
use client::{Label, Verdict};
use futures_util::{Stream, stream};
use jiff::Timestamp;

use shapes::{Labels, OfModel, ReviewItem, ReviewPage, Saying, Sorted, Wanted};

use super::{Shared, fresh};
use crate::admission::Room;
use crate::audit::Entry;
use crate::body;
use crate::caller::Caller;
use crate::problem::{Problem, ProblemDetails};
use crate::review::reviewer;

/// The most images on one page.
const MOST: usize = 200;
/// The largest body that says what an image shows, in bytes.
const MAX_BODY: usize = 16 << 10;
/// How much of an image goes out at once, in bytes.
const PIECE: usize = 64 << 10;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/review", get(list))
        .route("/v1/review/labels", get(labels))
        .route("/v1/review/{id}", get(item).post(say).delete(take_back))
        .route("/v1/review/{id}/image", get(image))
}

/// Images that people should look at
///
/// Those whose answer a worker was not sure of (docs/review.md), of the last ones on the topic.
#[utoipa::path(get, path = "/v1/review", tag = "review", params(Wanted), responses(
    (status = 200, description = "Some of them", body = ReviewPage),
    (status = "default", description = "Problem details; 501 on the embedded broker", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| Problem::bad_request(error.body_text()))?;
    caller.who.may_ask(wanted.model.as_deref())?;
    let limit = wanted.limit.unwrap_or(50);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is {limit}: 1 to {MOST} are given at once")));
    }
    let after = wanted.cursor.as_deref().map(FromStr::from_str).transpose();
    let after = after.map_err(|error: String| Problem::bad_request(format!("cursor: {error}")))?;
    let order = match wanted.order {
        Some(Sorted::Unsure) => Order::Unsure,
        Some(Sorted::Newest) | None => Order::Newest,
    };
    let labelled = wanted.labelled.unwrap_or(false);
    let query = client::review::Query { model: wanted.model, labelled, order, limit, after };
    let page = gateway.desk().await?.page(&query);
    Ok(fresh(ReviewPage {
        items: page.items.into_iter().map(ReviewItem::from).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
        total: page.total,
    }))
}

/// One image that people should look at, and what they say of it
#[utoipa::path(get, path = "/v1/review/{id}", tag = "review",
    params(("id" = String, Path, description = "What the list names it")),
    responses(
        (status = 200, description = "What was said of it", body = ReviewItem),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn item(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (_, shown) = found(&gateway, &caller, &id).await?;
    Ok(fresh(ReviewItem::from(shown)))
}

/// The labels that are known of a model
#[utoipa::path(get, path = "/v1/review/labels", tag = "review", params(OfModel), responses(
    (status = 200, description = "Its labels", body = Labels),
    (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(crate) async fn labels(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    of: Result<Query<OfModel>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(OfModel { model }) = of.map_err(|error| Problem::bad_request(error.body_text()))?;
    caller.who.may_ask(Some(&model))?;
    let desk = gateway.desk().await?;
    let (labels, complete) = known(&gateway, &desk, &model).await;
    Ok(fresh(Labels { model, labels, complete }))
}

/// All labels that are known of a model, and whether those that it has are all among them.
async fn known(gateway: &Shared, desk: &Desk, model: &str) -> (Vec<String>, bool) {
    let mut labels = desk.labels(model);
    let named = model.to_owned();
    let has = gateway.registry(move |registry| crate::versions::labels(registry, &named)).await;
    let complete = has.is_ok();
    labels.extend(has.unwrap_or_default());
    (labels.into_iter().collect(), complete)
}

/// The file of an image that people should look at
#[utoipa::path(get, path = "/v1/review/{id}/image", tag = "review",
    params(("id" = String, Path, description = "What the list names it")),
    responses(
        (status = 200, description = "The file, as it came", content(
            (crate::images::ImageFile = "image/png"), (crate::images::ImageFile = "image/jpeg"), (crate::images::ImageFile = "image/webp"),
            (crate::images::ImageFile = "image/gif"), (crate::images::ImageFile = "image/bmp"), (crate::images::ImageFile = "application/octet-stream"),
        )),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn image(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (desk, shown) = found(&gateway, &caller, &id).await?;
    let mut room = gateway.admission.room();
    room.grow(shown.item.bytes)?;
    let Some(bytes) = desk.image(&shown.item).await? else {
        return Err(Problem::not_found("the image is not on the topic any more"));
    };
    let (kind, ending) = match wire::encoding::image_media_type(&bytes) {
        Some(kind) => (kind, kind.trim_start_matches("image/")),
        // Whatever it is, a browser is not to show it.
        None => ("application/octet-stream", "bin"),
    };
    let digits = shown.item.review.image.trim_start_matches("sha256:");
    let shows = if ending == "bin" { "attachment" } else { "inline" };
    let name = format!("{shows}; filename=\"{}.{ending}\"", digits.get(..16).unwrap_or("image"));
    let length = bytes.len();
    let mut response = Body::from_stream(in_pieces(bytes.into(), room)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    for (header, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, &*name),
        // An id may be another image's when a topic was made anew, and it is not everybody's to see.
        (header::CACHE_CONTROL, "private, max-age=300"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(header, value);
        }
    }
    Ok(response)
}

/// Its room is given back when the last piece has gone out.
fn in_pieces(bytes: Bytes, room: Room) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((bytes, room), async |(mut bytes, room)| {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok(piece), (bytes, room)))
    })
}

/// Say what an image shows
///
/// What was said before is replaced. `label` must be one that is known of the model, unless it is said to be `new`; with `skip` the image is of
/// no use.
#[utoipa::path(post, path = "/v1/review/{id}", tag = "review",
    params(("id" = String, Path, description = "What the list names it")),
    request_body(content((Saying = "application/json"))),
    responses(
        (status = 200, description = "Kafka has it", body = ReviewItem),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn say(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let saying: Saying = body::json(&gateway, &parts.headers, body, "what an image shows", MAX_BODY).await?;
    let by = reviewer(&caller, saying.by.as_deref())?;
    let (desk, shown) = found(&gateway, &caller, &id).await?;
    let review = &shown.item.review;
    let label = match (saying.label, saying.skip) {
        (Some(_), true) => {
            return Err(Problem::unprocessable("label and skip are both there: say one of them"));
        }
        (None, false) => return Err(Problem::unprocessable("say what it shows (label), or skip: true")),
        (label, _) => label,
    };
    if let Some(label) = &label {
        folder_name(label).map_err(Problem::unprocessable)?;
        let (known, _) = known(&gateway, &desk, &review.model.name).await;
        if !saying.new && !known.contains(label) {
            return Err(Problem::unprocessable(format!(
                "'{}' is not known as a label of {}: say new: true if it is to be one",
                wire::quoted(label),
                review.model.name
            )));
        }
    }
    let predicted = review.predictions.first().map(|first| first.label.clone());
    let verdict = match &label {
        None => Verdict::Skipped,
        Some(_) if label == predicted => Verdict::Confirmed,
        Some(_) => Verdict::Corrected,
    };
    let (image, model) = (review.image.clone(), review.model.name.clone());
    let (version, at) = (Some(review.model.version), Timestamp::now());
    let label = Label { image, model, verdict, label, predicted, version, by, at };
    let said = desk.say(label.clone()).await.map_err(Problem::from);
    Entry::new("review.label", &label.image).by(&label.by).asked_by(&caller).came_to(&said);
    said?;
    Ok(fresh(ReviewItem::from(Shown { label: Some(label), ..shown })))
}

/// Take back what was said of an image
#[utoipa::path(delete, path = "/v1/review/{id}", tag = "review",
    params(("id" = String, Path, description = "What the list names it")),
    responses(
        (status = 200, description = "Kafka has it: nobody has said anything", body = ReviewItem),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn take_back(
    State(gateway): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (desk, shown) = found(&gateway, &caller, &id).await?;
    let taken = desk.take_back(&shown.item).await.map_err(Problem::from);
    Entry::new("review.take-back", &shown.item.review.image).asked_by(&caller).came_to(&taken);
    taken?;
    Ok(fresh(ReviewItem::from(Shown { label: None, ..shown })))
}

async fn found(gateway: &Shared, caller: &Caller, id: &str) -> Result<(Arc<Desk>, Shown), Problem> {
    let place = Place::from_str(id).map_err(Problem::not_found)?;
    let desk = gateway.desk().await?;
    let shown = desk.find(place);
    let gone =
        || Problem::not_found("there is no such image, or it is not among the last ones (review.keep)");
    let shown = shown.ok_or_else(gone)?;
    caller.who.may_ask(Some(&shown.item.review.model.name))?;
    Ok((Arc::clone(&desk), shown))
}
