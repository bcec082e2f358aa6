//! The net that is imported: which engine computes its file, what the file says of itself, and the engine.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use model::Device;
use model::torchscript::TorchScript;
use model_core::{Engine, EngineError, Pixels};
use model_openvino::{OpenVino, onnx};
use registry::{EngineKind, FileEntry, Layout, Manifest};

use crate::cli::publish::Refusal;

/// A net's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) channels: u32,
    pub(super) size: u32,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.size, self.size)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides: Vec<Option<u32>> = text.split('x').map(|side| side.parse().ok()).collect();
        match sides[..] {
            [Some(channels), Some(height), Some(width)] if height == width => {
                Ok(Self { channels, size: width })
            }
            [Some(_), Some(_), Some(_)] => {
                Err("images are made square, so height and width must be equal".into())
            }
            _ => Err("give channels, height and width, as 3x224x224".into()),
        }
    }
}

/// What a file says of itself, as far as it does.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The dimensions of its input but the first.
    image: Option<[u64; 3]>,
    /// How many numbers it gives for an image.
    pub(super) outputs: Option<u32>,
    /// Whether it computes in 8-bit integers.
    pub(super) quantised: bool,
}

impl Said {
    /// The image that it takes.
    pub(super) fn shape(&self, layout: Layout) -> Option<Shape> {
        let (channels, sides) = match (self.image?, layout) {
            ([channels, height, width], Layout::Nchw) | ([height, width, channels], Layout::Nhwc) => {
                (channels, [height, width])
            }
        };
        let size = u32::try_from(sides[0]).ok().filter(|_| sides[0] == sides[1])?;
        Some(Shape { channels: u32::try_from(channels).ok()?, size })
    }

    /// The image that it takes, in words; none where it does not say.
    pub(super) fn words(&self) -> Option<String> {
        self.image.map(|[a, b, c]| format!("{a} x {b} x {c}"))
    }
}

/// The engine for a file of that name. TorchScript, which is code, only where that is `allowed`.
pub(super) fn engine(file: &Path, allowed: bool) -> Result<EngineKind, Refusal> {
    let file_name = file.display();
    let extension = file.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("onnx") => Ok(EngineKind::Openvino),
        Some("pt") if allowed => Ok(EngineKind::Torchscript),
        Some("pt") => {
            let text = "is TorchScript by its name, which is code that runs when it is loaded";
            Err(Refusal::Usage(format!("{file_name} {text}: --allow-torchscript lets it, if you trust it")))
        }
        _ => {
            let text =
                "is no file that can be imported: ONNX files end in .onnx, and TorchScript files in .pt";
            Err(Refusal::Usage(format!("{file_name} {text}")))
        }
    }
}

/// The file's name in the version's folder.
pub(super) fn file(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Openvino => "model.onnx",
        EngineKind::Torchscript => "model.pt",
        _ => "model.safetensors",
    }
}

/// Tells the manifest of the file.
pub(super) fn describe(manifest: &mut Manifest, bytes: &[u8]) {
    if let Some(artifact) = manifest.artifacts.first() {
        manifest.files.insert(artifact.file.clone(), FileEntry::of_bytes(bytes));
    }
}

/// What the file says of itself, if it is one that can be used.
pub(super) fn said(engine: EngineKind, file: &str, bytes: &[u8]) -> Result<Said, Refusal> {
    if engine != EngineKind::Openvino {
        return Ok(Said::default());
    }
    let unfit = |what: String| Refusal::Unfit(format!("{file} can't be used: {what}"));
    let summary = onnx::read(bytes).map_err(|error| unfit(error.to_string()))?;
    let ([input], [output]) = (&summary.inputs[..], &summary.outputs[..]) else {
        let (inputs, outputs) = (summary.inputs.len(), summary.outputs.len());
        return Err(unfit(format!("it has {inputs} inputs and {outputs} outputs, not one of each")));
    };
    for (name, side) in [("input", input), ("output", output)] {
        if !side.floats {
            return Err(unfit(format!("its {name} {:?} is not of 32-bit floats", side.name)));
        }
    }
    let image = match input.shape.as_deref() {
        Some([_, Some(a), Some(b), Some(c)]) => Some([*a, *b, *c]),
        Some([_, _, _, _]) | None => None,
        Some(shape) => {
            let text =
                format!("its input {:?} has {} dimensions, and images have four", input.name, shape.len());
            return Err(unfit(text));
        }
    };
    let outputs = output.shape.as_ref().and_then(|shape| u32::try_from((*shape.get(1)?)?).ok());
    Ok(Said { image, outputs, quantised: summary.quantised })
}

/// A net, loaded.
pub(super) struct Net {
    engine: Box<dyn Engine>,
    fixed_batch: Option<usize>,
}

impl Net {
    /// By the engine of the manifest's first artifact; `file` names it in messages.
    pub(super) fn load(manifest: &Manifest, file: &str, bytes: &[u8]) -> anyhow::Result<Self> {
        let (input, outputs) = (&manifest.input, manifest.classes.outputs);
        if manifest.artifact(EngineKind::Torchscript).is_some() {
            let engine = TorchScript::load(file, bytes, input, outputs, Device::Cpu)?;
            return Ok(Self { fixed_batch: engine.fixed_batch(), engine: Box::new(engine) });
        }
        let engine = OpenVino::load(file, bytes, input, outputs)?;
        Ok(Self { fixed_batch: engine.fixed_batch(), engine: Box::new(engine) })
    }

    /// How many images it takes at once, where it takes no other number.
    pub(super) fn fixed_batch(&self) -> Option<usize> {
        self.fixed_batch
    }

    /// What computes it.
    pub(super) fn engine(&mut self) -> &mut dyn Engine {
        &mut *self.engine
    }

    /// As [`Engine::logits`].
    pub(super) fn logits(&mut self, batch: &[&Pixels]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.engine.logits(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_of_squares() {
        assert_eq!("3x224x224".parse(), Ok(Shape { channels: 3, size: 224 }));
        for wrong in ["", "224", "3x224x225", "3x-1x-1", "3x224x224x1", "axbxc"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
