//! What others say of a net, to be taken where the command line says nothing: a set of torchvision's weights by its name, or the files
//! that lie beside a net.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model_core::presets::{Preset, Setting, config, hugging_face, torchvision};
use registry::Activation;

use super::Refusal;

/// How an image becomes a net's input, by transformers.
const PREPROCESSOR: &str = "preprocessor_config.json";
/// What a net's outputs are, by transformers, and all of it by timm.
const CONFIG: &str = "config.json";
/// No more of a file is read, and a longer one is refused: room for some hundred thousand labels.
const LARGEST: u64 = 16 << 20;

/// Something that was said, and where.
#[derive(Debug)]
pub(super) struct By<T> {
    pub(super) source: String,
    pub(super) said: T,
}

/// All that others say.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) preset: Option<By<Preset>>,
    pub(super) labels: Option<By<Setting<Vec<String>>>>,
    pub(super) activation: Option<By<Setting<Option<Activation>>>>,
}

impl Taken {
    /// What torchvision says of a set of its weights.
    pub(super) fn by_name(name: &str) -> Result<Self, Refusal> {
        let said = torchvision::find(name).map_err(Refusal::Usage)?;
        Ok(Self { preset: Some(By { source: format!("torchvision's {name}"), said }), ..Self::default() })
    }

    /// What the files say that lie in a folder, or one of them.
    pub(super) fn from(path: &Path) -> anyhow::Result<Self> {
        let (preprocessor, config) = if path.is_dir() {
            (path.join(PREPROCESSOR), path.join(CONFIG))
        } else {
            match path.file_name().and_then(|name| name.to_str()) {
                Some(PREPROCESSOR) => (path.to_owned(), PathBuf::new()),
                Some(CONFIG) => (PathBuf::new(), path.to_owned()),
                _ => {
                    let text = format!(
                        "{} is neither {PREPROCESSOR} nor {CONFIG}, nor a folder of them",
                        path.display()
                    );
                    return Err(Refusal::Usage(text).into());
                }
            }
        };
        let (preprocessor, config) = (read(&preprocessor)?, read(&config)?);
        if preprocessor.is_none() && config.is_none() {
            let text = format!("{} holds neither {PREPROCESSOR} nor {CONFIG}", path.display());
            return Err(Refusal::Usage(text).into());
        }
        let mut taken = Self::default();
        let mut model_type = None;
        if let Some(file) = config {
            let said =
                config::read(&file.bytes).map_err(|what| Refusal::Unfit(format!("{}: {what}", file.name)))?;
            model_type = said.model_type;
            taken.preset = said.preset.map(|preset| By { source: by(&file.name, &preset), said: preset });
            taken.labels = Some(By { source: file.name.clone(), said: said.labels });
            taken.activation = Some(By { source: file.name, said: said.activation });
        }
        if let Some(file) = preprocessor {
            let said = hugging_face::read(&file.bytes, model_type.as_deref());
            let preset = said.map_err(|what| Refusal::Usage(format!("{}: {what}", file.name)))?;
            taken.preset = Some(By { source: by(&file.name, &preset), said: preset });
        }
        Ok(taken)
    }
}

/// A file's name and what it holds.
struct Content {
    name: String,
    bytes: Vec<u8>,
}

/// The file, where there is one.
fn read(path: &Path) -> anyhow::Result<Option<Content>> {
    if !path.is_file() {
        return Ok(None);
    }
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Refusal::Unfit(format!("{name} is longer than the {LARGEST} bytes that are read")).into());
    }
    Ok(Some(Content { name, bytes }))
}

/// A file, and in it whose words they are.
fn by(file: &str, preset: &Preset) -> String {
    format!("{file} ({})", preset.name)
}

/// The folder beside a net, or over it, in which such files lie.
pub(super) fn beside(net: &Path) -> Option<&Path> {
    let folders = net.ancestors().skip(1).take(2);
    folders
        .map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        .find(|folder| folder.join(PREPROCESSOR).is_file() || folder.join(CONFIG).is_file())
}
