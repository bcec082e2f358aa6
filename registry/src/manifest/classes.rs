//! What a net's outputs mean.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What the net's outputs mean.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// How many outputs the net has; [`Class::index`] counts in them.
    pub outputs: u32,
    /// The outputs that are answers. Others take part in the softmax and are never named.
    pub labels: Vec<Class>,
    /// What to answer when the image is probably none of the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<Reject>,
    /// How sure the net's answers are to be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// One answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// The output's number, from 0.
    pub index: u32,
    /// Its name for people.
    pub label: String,
}

/// The answer to an image of something else.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// Its name for people, such as "not a bird".
    pub label: String,
    /// Given when the labels' probabilities sum to less than this. In (0, 0.5], so that this answer is then the likeliest.
    pub threshold: f32,
}

/// How sure the net's answers are to be taken (<https://arxiv.org/abs/1706.04599>).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The outputs are divided by this before they become probabilities: above 1 for a net that is too sure. It changes no order.
    pub temperature: f32,
}

impl Classes {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.labels.is_empty() {
            return Err("classes: labels is empty".into());
        }
        let mut seen = BTreeSet::new();
        for class in &self.labels {
            if class.index >= self.outputs {
                return Err(format!(
                    "classes: index {} ({}) is not below outputs, {}",
                    class.index, class.label, self.outputs
                ));
            }
            if !seen.insert(class.index) {
                return Err(format!("classes: index {} is given twice", class.index));
            }
            if class.label.trim().is_empty() {
                return Err(format!("classes: index {} has an empty label", class.index));
            }
        }
        if let Some(reject) = &self.reject
            && !(reject.threshold > 0.0 && reject.threshold <= 0.5)
        {
            return Err(format!(
                "classes: reject: threshold must be above 0 and at most 0.5, and is {}",
                reject.threshold
            ));
        }
        if let Some(Calibration { temperature }) = self.calibration
            && !(temperature.is_finite() && temperature > 0.0)
        {
            return Err(format!("classes: calibration: temperature must be above 0, and is {temperature}"));
        }
        Ok(())
    }
}
