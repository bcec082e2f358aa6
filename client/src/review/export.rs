//! A folder of labelled images, `DIR/<label>/<digest>.<ext>`, as `model train` takes it. It can be written again and again: what is new is
//! added, what has another label now is moved, and what was taken back is removed, of those files alone that were written here. Which these
//! are stands in a file of its own ([`MANIFEST`]), before they are there.

mod folder;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use wire::{Label, Verdict};

use self::folder::{Folder, Kept};
use super::{all_labels, each_item, folder_name};
use crate::config::ClientConfig;
use crate::error::ClientError;

pub use self::folder::MANIFEST;

/// What came of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files that are new.
    pub added: usize,
    /// Files that have another label now.
    pub moved: usize,
    /// Files whose label was taken back, or which are skipped now.
    pub removed: usize,
    /// Files that are as they were.
    pub kept: usize,
    /// Labelled images that are not on the topic any more, and not in the folder.
    pub gone: usize,
    /// What was left out, each a sentence.
    pub refused: Vec<String>,
}

/// Why a folder can't be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The topics can't be read.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file or folder can't be used.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The folder's list of what was written to it is not one.
    #[error("{} is not what an export leaves: {reason}; move it away, and what is in the folder is taken for yours", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another export writes to the folder.
    #[error("another export writes to {}: wait until it is done", .0.display())]
    Busy(PathBuf),
    /// Several models have labels, and none is named.
    #[error("people labelled images of several models ({0}): name the one whose labels are wanted")]
    Models(String),
}

/// Writes what people say of the images of that model to a folder, which is made where it is not there. Where no model is named, there
/// must be labels of one alone. What was skipped is left out. `progress` is told how many of how many new images are there.
///
/// # Errors
/// [`ExportError`]. What was written until then is whole, and the next export goes on from there.
pub async fn export(
    config: &ClientConfig,
    folder: &Path,
    model: Option<&str>,
    mut progress: impl FnMut(usize, usize) + Send + 'static,
) -> Result<Exported, ExportError> {
    let cluster = config.cluster(config.connect_deadline()?).await?;
    let (config, folder, model) = (config.clone(), folder.to_owned(), model.map(str::to_owned));
    let work = move || {
        let labels = all_labels(&config, &cluster)?;
        let model = the_model(&labels, model)?;
        let wanted = wanted(&labels, &model);
        let mut folder = Folder::open(&folder)?;
        let mut done = settle(&mut folder, &model, &wanted)?;
        let mut missing = missing(&folder, &model, &wanted);
        let all = missing.len();
        progress(0, all);
        folder.plan(&model, missing.iter())?;
        if all > 0 {
            each_item(&config, &cluster, None, |item, bytes| {
                let digest = &item.review.image;
                if item.review.model.name == model
                    && let Some(label) = missing.get(digest)
                {
                    match folder.add(&model, digest, label, bytes)? {
                        None => done.added += 1,
                        Some(why) => done.refused.push(why),
                    }
                    missing.remove(digest);
                    progress(all - missing.len(), all);
                }
                Ok::<_, ExportError>(!missing.is_empty())
            })?;
        }
        done.gone = missing.len();
        done.refused.extend(wanted.refused);
        folder.finish()?;
        Ok(done)
    };
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| ClientError::Thread(error.to_string()))?
}

/// The model that is meant; an empty name, which none has, where nobody has labelled anything.
fn the_model(labels: &BTreeMap<String, Label>, named: Option<String>) -> Result<String, ExportError> {
    if let Some(named) = named {
        return Ok(named);
    }
    let models: std::collections::BTreeSet<_> = labels.values().map(|label| label.model.as_str()).collect();
    match models.len() {
        0 | 1 => Ok(models.first().map(|one| (*one).to_owned()).unwrap_or_default()),
        _ => Err(ExportError::Models(models.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

/// The folder's name of each image that is to be there.
struct Wanted {
    images: HashMap<String, String>,
    refused: Vec<String>,
    /// Those whose labels no folder can have.
    unfit: HashSet<String>,
}

fn wanted(labels: &BTreeMap<String, Label>, model: &str) -> Wanted {
    let mut wanted = Wanted { images: HashMap::new(), refused: Vec::new(), unfit: HashSet::new() };
    // Which label has which folder, and how many images have a label that has none.
    let (mut folders, mut unfit) = (BTreeMap::<String, &str>::new(), BTreeMap::<String, usize>::new());
    for label in labels.values().filter(|label| label.model == model) {
        let (Verdict::Confirmed | Verdict::Corrected, Some(text)) = (label.verdict, &label.label) else {
            continue;
        };
        let name = folder_name(text).and_then(|name| match folders.get(&name) {
            Some(other) if *other != text.as_str() => Err(format!(
                "the labels '{other}' and '{text}' would have one folder, {name}: give one of them another name"
            )),
            Some(_) => Ok(name),
            None => {
                folders.insert(name.clone(), text);
                Ok(name)
            }
        });
        match name {
            Ok(name) => drop(wanted.images.insert(label.image.clone(), name)),
            Err(why) => {
                *unfit.entry(why).or_default() += 1;
                wanted.unfit.insert(label.image.clone());
            }
        }
    }
    let said = |(why, images): (String, usize)| {
        if images == 1 {
            format!("{why}; one image is left out")
        } else {
            format!("{why}; {images} images are left out")
        }
    };
    wanted.refused = unfit.into_iter().map(said).collect();
    wanted
}

/// Moves and removes what was written before and is meant elsewhere now.
fn settle(folder: &mut Folder, model: &str, wanted: &Wanted) -> Result<Exported, ExportError> {
    let mut done = Exported::default();
    for (digest, kept) in folder.written(model) {
        let outcome = match wanted.images.get(&digest) {
            Some(name) if *name == kept.folder => folder.check(model, &digest, &kept)?,
            Some(name) => folder.shift(model, &digest, &kept, name)?,
            // It has a label, which its file can't have.
            None if wanted.unfit.contains(&digest) => folder.check(model, &digest, &kept)?,
            None => folder.remove(model, &digest, &kept)?,
        };
        match outcome {
            Kept::AsItWas => done.kept += 1,
            Kept::Moved => done.moved += 1,
            Kept::Removed => done.removed += 1,
            Kept::Gone => {}
            Kept::Changed(why) => done.refused.push(why),
        }
    }
    folder.save()?;
    Ok(done)
}

fn missing(folder: &Folder, model: &str, wanted: &Wanted) -> HashMap<String, String> {
    let images = wanted.images.iter().filter(|(digest, _)| !folder.has(model, digest));
    images.map(|(digest, name)| (digest.clone(), name.clone())).collect()
}

#[cfg(test)]
mod tests;
