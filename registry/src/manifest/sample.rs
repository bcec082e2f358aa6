//! Images that a version carries with it, and what it calls them: whoever loads it can see whether it still does.

use serde::{Deserialize, Serialize};

use super::{Manifest, Schema};

/// How many samples a version has at most: each of them is computed before the version serves.
pub const MOST_SAMPLES: usize = 16;
/// How many bytes a sample has at most.
pub const SAMPLE_LIMIT: u64 = 1 << 20;

/// An image, and what the version calls it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Its name in the version's folder; `files` holds its size and SHA-256.
    pub file: String,
    /// The first label of its answer: one of the classes', or that of what is none of them.
    pub label: String,
}

/// What the samples say, each by itself and together.
pub(super) fn validate(manifest: &Manifest) -> Result<(), String> {
    let Manifest { samples, classes, files, .. } = manifest;
    if !samples.is_empty() && manifest.schema == Schema::One {
        return Err("samples goes with schema 2".into());
    }
    if samples.len() > MOST_SAMPLES {
        return Err(format!("samples: there are {}, and {MOST_SAMPLES} is the most", samples.len()));
    }
    for Sample { file, label } in samples {
        let known = classes.labels.iter().any(|class| class.label == *label)
            || classes.reject.as_ref().is_some_and(|reject| reject.label == *label);
        if !known {
            return Err(format!("samples: {file}: {label:?} is none of the classes' labels"));
        }
        match files.get(file) {
            None => return Err(format!("samples: {file}: files does not name it")),
            Some(entry) if entry.size > SAMPLE_LIMIT => {
                return Err(format!(
                    "samples: {file} has {} bytes, and {SAMPLE_LIMIT} is the most: take a smaller image",
                    entry.size
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
