//! What is asked and answered about images that people look at.

use client::review::Shown;
use client::{Label, Prediction};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which images are wanted.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Of that model alone.
    pub(super) model: Option<String>,
    /// How many at most, 1 to 200; 50 where nothing is said.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<usize>,
    /// Those behind a page: what it gave as `next`.
    pub(super) cursor: Option<String>,
    /// `newest` first, where nothing is said, or the most `unsure` first: those whose two likeliest labels are nearest to each other.
    #[param(inline)]
    pub(super) order: Option<Sorted>,
    /// Those that somebody has labelled or skipped, in place of those that nobody has.
    pub(super) labelled: Option<bool>,
}

/// In which order images come.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sorted {
    Newest,
    Unsure,
}

/// Images that people should look at.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReviewPage {
    /// In the order that was asked for.
    pub(super) items: Vec<ReviewItem>,
    /// What to give as `cursor` for those behind; none where there are none.
    pub(super) next: Option<String>,
    /// How many there are in all.
    pub(super) total: usize,
}

/// An image that people should look at.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReviewItem {
    /// Where its record lies: its name in this interface.
    pub(super) id: String,
    /// The request's id.
    pub(super) request_id: String,
    /// SHA-256 of its file, as `sha256:…`.
    pub(super) image: String,
    /// The size of its file.
    pub(super) bytes: usize,
    /// The model that answered.
    pub(super) model: String,
    /// Its version.
    pub(super) version: u32,
    /// `rejected`, `below`, `margin` or `sampled`.
    pub(super) why: String,
    /// The likeliest labels, the most probable first.
    #[schema(value_type = Vec<Object>)]
    pub(super) predictions: Vec<Prediction>,
    /// When they were computed, RFC 3339.
    pub(super) computed_at: String,
    /// What somebody said that it shows; none where nobody has.
    pub(super) label: Option<Said>,
}

/// What somebody said that an image shows.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Said {
    /// `confirmed`, `corrected` or `skipped`.
    pub(super) verdict: String,
    /// What it shows; none where it was skipped.
    pub(super) label: Option<String>,
    /// Who said so, as they call themselves.
    pub(super) by: String,
    /// When, RFC 3339.
    pub(super) at: String,
}

/// What an image shows: a label, or that it is of no use.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Saying {
    /// What it shows.
    #[schema(max_length = 200)]
    pub(super) label: Option<String>,
    /// It is of no use.
    pub(super) skip: bool,
    /// The label is one that the model does not know yet.
    pub(super) new: bool,
    /// Who says it.
    #[schema(max_length = 100)]
    pub(super) by: Option<String>,
}

/// The labels that are known of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Labels {
    pub(super) model: String,
    /// Sorted.
    pub(super) labels: Vec<String>,
    /// Whether those of the version in service are all among them (`models.root`): else those that it gave images and that people did.
    pub(super) complete: bool,
}

/// Of which model.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfModel {
    /// The model.
    pub(super) model: String,
}

impl From<Shown> for ReviewItem {
    fn from(shown: Shown) -> Self {
        let Shown { item, label } = shown;
        let review = item.review;
        Self {
            id: item.place.to_string(),
            request_id: review.request_id,
            image: review.image,
            bytes: item.bytes,
            model: review.model.name,
            version: review.model.version,
            why: word(&review.why),
            predictions: review.predictions,
            computed_at: review.computed_at.to_string(),
            label: label.map(Said::from),
        }
    }
}

impl From<Label> for Said {
    fn from(label: Label) -> Self {
        Self { verdict: word(&label.verdict), label: label.label, by: label.by, at: label.at.to_string() }
    }
}

/// What a value is on the wire.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
