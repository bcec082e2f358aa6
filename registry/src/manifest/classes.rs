//! What a net's outputs mean.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What the net's outputs mean.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// How many outputs the net has; [`Class::index`] counts in the probabilities that they mean.
    pub outputs: u32,
    /// What makes probabilities of the outputs.
    #[serde(default, skip_serializing_if = "Activation::is_default")]
    pub activation: Activation,
    /// The outputs that are answers. Others take part in the softmax and are never named.
    pub labels: Vec<Class>,
    /// What to answer when the image is probably none of the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<Reject>,
    /// How sure the net's answers are to be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// What makes probabilities of a net's outputs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// One of the classes: the outputs' exponentials as shares of their sum.
    #[default]
    Softmax,
    /// Each class by itself: `1 / (1 + exp(-output))`. One output is two classes: the second's, and the first's is the rest.
    Sigmoid,
    /// None: the net gives probabilities. One output is two classes, as by sigmoid.
    None,
}

impl Activation {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
    /// How many probabilities the outputs mean: as many, and two where there is one that says how probable the second class is.
    #[must_use]
    pub fn probabilities(&self) -> u32 {
        if self.outputs == 1 && self.activation != Activation::Softmax { 2 } else { self.outputs }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.labels.is_empty() {
            return Err("classes: labels is empty".into());
        }
        let (outputs, count) = (self.outputs, self.probabilities());
        let mut seen = BTreeSet::new();
        for class in &self.labels {
            if class.index >= count {
                let two = if count == outputs { "" } else { ", which is two classes" };
                return Err(format!(
                    "classes: index {} ({}) is not below outputs, {outputs}{two}",
                    class.index, class.label
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
        if self.calibration.is_some() && self.activation == Activation::None {
            return Err("classes: calibration goes with activation softmax and sigmoid only".into());
        }
        Ok(())
    }
}
