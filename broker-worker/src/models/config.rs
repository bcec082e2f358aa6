//! The `models` section: what is served.

use std::path::PathBuf;
use std::time::Duration;

use registry::Select;
use serde::{Deserialize, Serialize};

use crate::engines::Choice;

/// What is served.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// The model versions: a folder, or the URL of an object store (`s3://bucket/prefix`, `gs://`, `az://`).
    pub root: PathBuf,
    /// Where copies of an object store's files are kept; the user's folder of caches where there is none.
    pub cache_folder: Option<PathBuf>,
    /// How much all of those copies may take, in bytes.
    pub cache_bytes: u64,
    /// The model that a request without a name means.
    pub default: String,
    /// Which engine computes those that name none themselves.
    pub engine: Choice,
    /// Whether TorchScript files are loaded, which are code: they may do whatever the worker may.
    pub allow_torchscript: bool,
    /// Public keys, PEM; where there are some, only versions are served that one of them has signed.
    pub public_keys: Vec<PathBuf>,
    /// How often the versions that are meant are looked up again, about; 0 is never.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// How much memory versions may take together that are loaded because a request names them, in bytes; 0 loads none.
    pub on_demand_bytes: u64,
    /// How much memory all versions may take together, in bytes, those that are in service included; 0 is as much as there is.
    pub memory_bytes: u64,
    /// What to serve; each model of the folder where it is empty.
    pub serve: Vec<Serve>,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            root: PathBuf::from("weights"),
            cache_folder: None,
            cache_bytes: 10 << 30,
            default: "fashion-mnist".to_owned(),
            engine: Choice::default(),
            allow_torchscript: false,
            public_keys: Vec::new(),
            poll_interval: Duration::from_secs(2),
            on_demand_bytes: 1 << 30,
            memory_bytes: 0,
            serve: Vec::new(),
        }
    }
}

/// One model version to serve.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// The model.
    pub name: String,
    /// A number, an alias, or `latest`.
    #[serde(default)]
    pub version: Version,
    /// Which engine computes it; none is that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Choice>,
}

/// [`Select`], as text or as a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub struct Version(pub Select);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u32),
    Text(String),
}

impl TryFrom<NumberOrText> for Version {
    type Error = registry::RegistryError;

    fn try_from(value: NumberOrText) -> Result<Self, Self::Error> {
        match value {
            NumberOrText::Number(number) => number.to_string().parse(),
            NumberOrText::Text(text) => text.parse(),
        }
        .map(Self)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_or_a_word() {
        let read = |text: &str| serde_yaml::from_str::<Serve>(text).map(|s| s.version.0);
        assert_eq!(read("{name: bird}").unwrap(), Select::Alias("production".into()));
        assert_eq!(read("{name: bird, version: 3}").unwrap(), Select::Version(3));
        assert_eq!(read("{name: bird, version: latest}").unwrap(), Select::Latest);
        assert!(read("{name: bird, version: ../x}").is_err());
        assert!(read("{name: bird, engine: openvino}").is_ok());
        assert!(read("{name: bird, engine: tensorrt}").is_err());
    }
}
