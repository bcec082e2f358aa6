//! Where a fine-tuning was at the end of an epoch, in one safetensors file that is written whole or not at all. Metadata says which images,
//! configuration and backbone it is of: with others it is not gone on. Beside it lies a lock, so that two trainings of one name do not write
//! it in turns.
//!
//! No random state is in it: an epoch's views and order follow from the seed and its number.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::TransferError;
use super::tail::{Moved, Named};
use crate::onnx::numbers;

const FILE: &str = "fine-tuning.safetensors";
/// The metadata's key.
const STATE: &str = "mlaas.fine-tuning.state";
/// The groups of the stage that is under way.
const NOW: [&str; 2] = ["value", "velocity"];

/// What a fine-tuning depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// SHA-256 of the images and their classes.
    pub(super) data: String,
    /// The configuration, as JSON.
    pub(super) configuration: String,
    /// The identity of the backbone's version.
    pub(super) backbone: String,
    /// How many folds are measured.
    pub(super) folds: Option<usize>,
    /// Whether classes are left out in turn.
    pub(super) leaves_out: bool,
}

impl Identity {
    /// What of `other` is another one.
    fn differs(&self, other: &Self) -> &'static str {
        if self.data != other.data {
            "other images"
        } else if self.configuration != other.configuration {
            "another configuration"
        } else if self.backbone != other.backbone {
            "another backbone"
        } else {
            "other folds, or with --other where this is without"
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    identity: Identity,
    /// Of each finished stage the epochs that it took.
    finished: Vec<usize>,
    /// Epochs of the stage that is under way.
    pub(super) epoch: usize,
    /// The bits of the least loss of that stage, and its epoch.
    pub(super) best: Option<(u64, usize)>,
}

/// The file, and the right to write it.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    _lock: File,
    pub(super) state: State,
    /// Of finished stages.
    results: BTreeMap<usize, Named>,
    /// Of the stage that is under way, by group.
    now: HashMap<&'static str, Named>,
}

impl Checkpoint {
    /// That of `folder`, which is made; an empty one where there is none, or with `force`.
    pub(super) fn open(folder: &Path, identity: Identity, force: bool) -> Result<Self, TransferError> {
        fs::create_dir_all(folder).map_err(TransferError::write(folder))?;
        let lock = folder.join("lock");
        let held = File::create(&lock).map_err(TransferError::write(&lock))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(TransferError::Busy { folder: folder.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(TransferError::write(&lock)(source)),
        }
        let path = folder.join(FILE);
        // What a killed one was writing.
        let drafts = format!(".{FILE}.");
        for entry in fs::read_dir(folder).map_err(TransferError::write(folder))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&drafts) {
                fs::remove_file(entry.path()).map_err(TransferError::write(&path))?;
            }
        }
        let state = State { identity, finished: Vec::new(), epoch: 0, best: None };
        let mut all = Self { path, _lock: held, state, results: BTreeMap::new(), now: HashMap::new() };
        if !force && all.path.exists() {
            all.read()?;
        }
        Ok(all)
    }

    /// What a stage, counted from 1, came to, if it is finished: its tensors and epochs.
    pub(super) fn finished(&self, stage: usize) -> Option<(Named, usize)> {
        let epochs = *self.state.finished.get(stage - 1)?;
        // The stage that says how many epochs has no tensors.
        Some((self.results.get(&stage).map(clone).unwrap_or_default(), epochs))
    }

    /// Puts the tensors of the stage that is under way where it goes on from; whether there are any.
    pub(super) fn restore(&self, into: &BTreeMap<String, Moved>) -> Result<bool, TransferError> {
        if self.state.epoch == 0 {
            return Ok(false);
        }
        for (name, moved) in into {
            for (group, own) in NOW.iter().zip([&moved.value, &moved.velocity]) {
                let kept = self.now.get(group).and_then(|group| group.get(name));
                let kept = kept.filter(|kept| kept.size() == own.size());
                let kept = kept.ok_or_else(|| self.unusable("its tensors are those of another net"))?;
                tch::no_grad(|| own.shallow_clone().f_copy_(kept))?;
            }
        }
        Ok(true)
    }

    /// Writes where the stage that is under way is.
    pub(super) fn keep(
        &mut self,
        epoch: usize,
        best: Option<(f64, usize)>,
        moved: &BTreeMap<String, Moved>,
    ) -> Result<(), TransferError> {
        self.state.epoch = epoch;
        self.state.best = best.map(|(loss, epoch)| (loss.to_bits(), epoch));
        let group = |of: fn(&Moved) -> &Tensor| -> Named {
            moved.iter().map(|(name, moved)| (name.clone(), of(moved).shallow_clone())).collect()
        };
        self.now =
            HashMap::from([(NOW[0], group(|moved| &moved.value)), (NOW[1], group(|moved| &moved.velocity))]);
        self.write()
    }

    /// Writes what a stage came to.
    pub(super) fn finish(
        &mut self,
        stage: usize,
        tensors: &Named,
        epochs: usize,
    ) -> Result<(), TransferError> {
        self.state.finished.truncate(stage - 1);
        self.state.finished.push(epochs);
        self.results.insert(stage, clone(tensors));
        (self.state.epoch, self.state.best) = (0, None);
        self.now.clear();
        self.write()
    }

    /// Takes the file away: it is not needed any more.
    pub(super) fn remove(self) -> Result<(), TransferError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(TransferError::write(&self.path)(error))
            }
            _ => Ok(()),
        }
    }

    fn write(&self) -> Result<(), TransferError> {
        let results = self.results.iter().map(|(stage, tensors)| (stage.to_string(), tensors));
        let now = self.now.iter().map(|(group, tensors)| ((*group).to_owned(), tensors));
        let mut all = Vec::new();
        for (group, tensors) in results.chain(now) {
            for (name, tensor) in tensors {
                let shape: Vec<usize> = tensor.size().iter().map(|&side| side as usize).collect();
                let bytes: Vec<u8> =
                    numbers(&tensor.f_detach()?)?.iter().flat_map(|value| value.to_le_bytes()).collect();
                all.push((format!("{group}.{name}"), shape, bytes));
            }
        }
        let damaged = |error: safetensors::SafeTensorError| self.unusable(&error.to_string());
        let views = all
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(damaged)?))
            })
            .collect::<Result<Vec<_>, TransferError>>()?;
        let state = serde_json::to_string(&self.state).map_err(|error| self.unusable(&error.to_string()))?;
        let metadata = HashMap::from([(STATE.to_owned(), state)]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(damaged)?;
        Ok(registry::write_whole(&self.path, &bytes)?)
    }

    fn read(&mut self) -> Result<(), TransferError> {
        let bytes = fs::read(&self.path).map_err(|error| self.unusable(&error.to_string()))?;
        let damaged = |error: safetensors::SafeTensorError| self.unusable(&error.to_string());
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let state = header.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
        let state = state.ok_or_else(|| self.unusable("it is none of a fine-tuning"))?;
        let state: State = serde_json::from_str(state).map_err(|error| self.unusable(&error.to_string()))?;
        if state.identity != self.state.identity {
            let what = self.state.identity.differs(&state.identity);
            return Err(self.unusable(&format!("it is of a training with {what}")));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let (mut results, mut now): (BTreeMap<usize, Named>, HashMap<&str, Named>) = Default::default();
        for (name, view) in tensors.iter() {
            let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            let known = name.split_once('.').filter(|_| view.dtype() == Dtype::F32);
            let (group, name) = known.ok_or_else(|| self.unusable(&format!("it holds {name:?}")))?;
            let tensor = Tensor::f_from_data_size(view.data(), &shape, Kind::Float)?;
            let into = match (NOW.iter().find(|now| **now == group), group.parse::<usize>()) {
                (Some(group), _) => now.entry(*group).or_default(),
                (None, Ok(stage)) => results.entry(stage).or_default(),
                (None, Err(_)) => return Err(self.unusable(&format!("it holds {group}.{name}"))),
            };
            into.insert(name.to_owned(), tensor);
        }
        (self.state, self.results, self.now) = (state, results, now);
        Ok(())
    }

    fn unusable(&self, reason: &str) -> TransferError {
        TransferError::Checkpoint { path: self.path.clone(), reason: reason.to_owned() }
    }
}

fn clone(tensors: &Named) -> Named {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let (data, configuration, backbone) = ("a".into(), "b".into(), "c".into());
        Identity { data, configuration, backbone, folds: None, leaves_out: true }
    }

    #[test]
    fn what_is_kept_is_read_again_and_of_another_training_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = |identity, force| Checkpoint::open(folder.path(), identity, force);
        let moved = || {
            let value = Tensor::from_slice2(&[[1.5_f32, -2.0], [0.25, 4.0]]);
            BTreeMap::from([("w".to_owned(), Moved::of(value, 0.0).unwrap())])
        };
        let mut first = open(identity(), false).unwrap();
        // Nobody else writes it meanwhile.
        let error = open(identity(), true).unwrap_err().to_string();
        assert!(error.contains("another training"), "{error}");
        first.finish(1, &Named::from([("a".to_owned(), Tensor::from_slice(&[3.0_f32]))]), 7).unwrap();
        first.keep(2, Some((0.1, 1)), &moved()).unwrap();
        drop(first);
        fs::write(folder.path().join(".fine-tuning.safetensors.1"), "half of it").unwrap();

        let again = open(identity(), false).unwrap();
        assert_eq!((again.state.epoch, again.state.best), (2, Some((0.1_f64.to_bits(), 1))));
        let (tensors, epochs) = again.finished(1).unwrap();
        assert_eq!((tensors["a"].double_value(&[0]), epochs), (3.0, 7));
        let into = moved();
        drop(into["w"].value.shallow_clone().fill_(0.0));
        assert!(again.restore(&into).unwrap());
        assert_eq!(into["w"].value, moved()["w"].value);
        assert!(again.finished(2).is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the draft stays");
        drop(again);

        for (other, words) in [
            (Identity { data: "x".into(), ..identity() }, "other images"),
            (Identity { configuration: "x".into(), ..identity() }, "another configuration"),
            (Identity { backbone: "x".into(), ..identity() }, "another backbone"),
            (Identity { folds: Some(2), ..identity() }, "other folds"),
        ] {
            let error = open(other.clone(), false).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("--force"), "{error}");
            assert_eq!(open(other, true).unwrap().state.epoch, 0);
        }
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for length in [0, 7, 100, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let error = open(identity(), false).unwrap_err().to_string();
            assert!(error.contains("--force"), "{length}: {error}");
        }
    }
}
