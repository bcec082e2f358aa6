//! A run between two epochs, in one safetensors file that is written whole or not at all: the net's variables, its momentum,
//! the running average, the best average so far, and in the file's metadata the configuration and the epochs done.
//!
//! There is no random state in it: order, flips and dropout of an epoch follow from the seed and the epoch's number.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use registry::Data;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::config::TrainConfig;
use super::sgd::Named;
use super::{EpochReport, TrainError};

/// The metadata's key.
const STATE: &str = "mlaas.train.state";
/// The four groups of tensors; each name in the file begins with one of them and a dot.
const GROUPS: [&str; 4] = ["net", "momentum", "average", "best"];

/// What a run has done so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The configuration, which a resumed run must share.
    pub config: TrainConfig,
    /// The data, by its digests, which a resumed run must share too.
    #[serde(default)]
    pub data: Vec<Data>,
    /// One report for each finished epoch.
    pub epochs: Vec<EpochReport>,
}

/// A run at the end of an epoch.
#[derive(Debug)]
pub struct Checkpoint {
    /// What has been done.
    pub state: State,
    /// The net's variables.
    pub net: Named,
    /// The momentum of those that are trained.
    pub momentum: Named,
    /// The running average of the variables.
    pub average: Named,
    /// The average at the end of the epoch that did best on the validation images.
    pub best: Named,
}

struct Stored(Vec<usize>, Vec<u8>);

impl View for Stored {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.0
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.1)
    }
    fn data_len(&self) -> usize {
        self.1.len()
    }
}

impl Stored {
    fn new(tensor: &Tensor) -> Result<Self, TrainError> {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous();
        let shape = tensor.size().iter().map(|&side| side as usize).collect();
        let mut bytes = vec![0; tensor.numel() * 4];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        Ok(Self(shape, bytes))
    }
}

/// Tensors as the bytes of a safetensors file.
pub(super) fn tensors<'a>(
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, TrainError> {
    let views = tensors
        .into_iter()
        .map(|(name, tensor)| Ok((name, Stored::new(tensor)?)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    safetensors::serialize(views, metadata)
        .map_err(|error| TrainError::Data(format!("the weights can't be written: {error}")))
}

/// Writes a file under another name first, so that a crash leaves the old file or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = std::fs::File::create(&partial)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|source| TrainError::Write { path: path.to_owned(), source })
}

impl Checkpoint {
    /// Writes the checkpoint, replacing an older one.
    ///
    /// # Errors
    /// The disk is full, the folder cannot be written, and the like.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let groups = [&self.net, &self.momentum, &self.average, &self.best];
        let named = GROUPS.iter().zip(groups).flat_map(|(group, tensors)| {
            tensors.iter().map(move |(name, tensor)| (format!("{group}.{name}"), tensor))
        });
        let state = serde_json::to_string(&self.state)
            .map_err(|e| TrainError::damaged(path, format!("its state cannot be written: {e}")))?;
        write_whole(path, &tensors(named, Some(HashMap::from([(STATE.to_owned(), state)])))?)
    }

    /// Reads what [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// A missing, truncated or foreign file.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path)
            .map_err(|source| TrainError::ReadCheckpoint { path: path.to_owned(), source })?;
        let damaged = |reason: String| TrainError::damaged(path, reason);
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let state = header.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
        let state = state.ok_or_else(|| damaged("it is no training checkpoint".into()))?;
        let state: State = serde_json::from_str(state).map_err(|e| damaged(e.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let mut groups: HashMap<&str, Named> = HashMap::new();
        for (name, view) in tensors.iter() {
            let found = name.split_once('.').and_then(|(group, rest)| {
                GROUPS.iter().find(|known| **known == group).map(|group| (*group, rest))
            });
            let (group, name) = found.ok_or_else(|| damaged(format!("it holds a tensor {name:?}")))?;
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("{name} is {:?}", view.dtype())));
            }
            let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, Kind::Float)?;
            groups.entry(group).or_default().insert(name.to_owned(), tensor);
        }
        let mut group = |name: &str| groups.remove(name).unwrap_or_default();
        Ok(Self {
            state,
            net: group("net"),
            momentum: group("momentum"),
            average: group("average"),
            best: group("best"),
        })
    }
}

/// Copies tensors into others of the same names and shapes.
///
/// # Errors
/// Names or shapes that differ.
pub fn restore(path: &Path, into: &Named, from: &Named) -> Result<(), TrainError> {
    if !into.keys().eq(from.keys()) {
        return Err(TrainError::damaged(path, "its tensors are those of another net".into()));
    }
    for ((name, into), from) in into.iter().zip(from.values()) {
        if into.size() != from.size() {
            return Err(TrainError::damaged(
                path,
                format!("{name} is {:?}, not {:?}", from.size(), into.size()),
            ));
        }
        tch::no_grad(|| into.shallow_clone().f_copy_(from))?;
    }
    Ok(())
}
