//! The layers of a configuration: built-in defaults, then a file, then the environment, then flags. Each layer is strict,
//! and an error names the file and line, the variable or the flag where it is.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

/// The maps of librdkafka's own settings, whose names hold dots themselves.
pub const RAW_MAPS: [&str; 3] = ["kafka.common", "kafka.consumer", "kafka.producer"];

/// Where a configuration comes from, the later going before the earlier.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A YAML file.
    pub file: Option<PathBuf>,
    /// Keys set by the environment.
    pub environment: Vec<Setting>,
    /// Keys set by flags.
    pub flags: Vec<Setting>,
}

/// One key set outside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What the user typed, for messages: `--set top_k` or the variable's name.
    pub origin: String,
    /// The key, as `batching.max_batch_size`.
    pub key: String,
    /// Its value, YAML.
    pub value: String,
}

/// Why the layers can't be put together. One sentence.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The file can't be read.
    #[error("the configuration file {path} can't be read: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The key, the line and what is wrong.
        source: serde_yaml::Error,
    },
    /// A flag or variable is not what it should be.
    #[error("{origin}: {source} (setting {key})")]
    Value {
        /// Which.
        origin: String,
        /// The key that it sets.
        key: String,
        /// What is wrong.
        source: serde_yaml::Error,
    },
    /// A flag or variable names a key that can't be.
    #[error("{origin}: {reason}")]
    Key {
        /// Which.
        origin: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads and puts together. What must hold between keys is for the program to check.
///
/// # Errors
/// [`LayerError`], the first thing that is wrong.
pub fn load<C: DeserializeOwned + Default>(sources: &Sources) -> Result<C, LayerError> {
    let (mut config, mut tree) = match &sources.file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| LayerError::Read { path: path.clone(), source })?;
            (parse(&text, path)?, tree(&text, path)?)
        }
        None => (C::default(), Value::Mapping(Mapping::new())),
    };
    for setting in sources.environment.iter().chain(&sources.flags) {
        (tree, config) = set(&tree, setting)?;
    }
    Ok(config)
}

/// Reads a file's text strictly. One of comments only says as little as an empty one.
///
/// # Errors
/// [`LayerError::File`], with key and line.
pub fn parse<C: DeserializeOwned + Default>(text: &str, path: &Path) -> Result<C, LayerError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(C::default());
    }
    serde_yaml::from_str(text).map_err(|source| LayerError::File { path: path.to_owned(), source })
}

/// The file as a tree, which has been read strictly before.
fn tree(text: &str, path: &Path) -> Result<Value, LayerError> {
    match serde_yaml::from_str(text) {
        Ok(Value::Null) => Ok(Value::Mapping(Mapping::new())),
        Ok(tree) => Ok(tree),
        Err(source) => Err(LayerError::File { path: path.to_owned(), source }),
    }
}

/// The tree with one key set, and what it means. The value is YAML, or else plain text: a password may look like a
/// number.
fn set<C: DeserializeOwned>(tree: &Value, setting: &Setting) -> Result<(Value, C), LayerError> {
    let text = Value::String(setting.value.clone());
    let yaml = serde_yaml::from_str(&setting.value).unwrap_or_else(|_| text.clone());
    let mut first = None;
    for value in [yaml, text] {
        let mut tree = tree.clone();
        place(&mut tree, &setting.key, value)
            .map_err(|reason| LayerError::Key { origin: setting.origin.clone(), reason })?;
        match serde_yaml::from_value(tree.clone()) {
            Ok(config) => return Ok((tree, config)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let (origin, key) = (setting.origin.clone(), setting.key.clone());
    Err(match first {
        Some(source) => LayerError::Value { origin, key, source },
        None => LayerError::Key { origin, reason: "it has no value".to_owned() },
    })
}

fn place(tree: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let raw = RAW_MAPS.iter().find_map(|map| {
        let name = key.strip_prefix(map)?.strip_prefix('.')?;
        let (section, map) = map.split_once('.')?;
        Some((section, map, name))
    });
    // The rest is one name.
    if let Some((section, map, name)) = raw {
        return insert(child(child(tree, section)?, map)?, name, value);
    }
    match key.split_once('.') {
        Some((head, rest)) => place(child(tree, head)?, rest, value),
        None => insert(tree, key, value),
    }
}

fn child<'a>(tree: &'a mut Value, name: &str) -> Result<&'a mut Value, String> {
    let map = mapping(tree, name)?;
    let child = map.entry(Value::String(name.to_owned())).or_insert(Value::Null);
    if child.is_null() {
        *child = Value::Mapping(Mapping::new());
    }
    Ok(child)
}

fn insert(tree: &mut Value, name: &str, value: Value) -> Result<(), String> {
    if name.is_empty() {
        return Err("the key is empty or ends with a dot".to_owned());
    }
    mapping(tree, name)?.insert(Value::String(name.to_owned()), value);
    Ok(())
}

fn mapping<'a>(tree: &'a mut Value, name: &str) -> Result<&'a mut Mapping, String> {
    tree.as_mapping_mut().ok_or_else(|| format!("there is nothing below the key before '{name}'"))
}

#[cfg(test)]
mod tests;
