//! OpenVINO for the CPU, cut out of its wheel: `.deps/openvino`, where the worker finds it. And the ONNX files that it computes, which
//! `model export` makes of the weights.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    demo,
    fetch::{self, Wheel, sha256},
    process,
    progress::step,
    setup::{self, Part},
    system::Purpose,
    workspace::Workspace,
};

const VERSION: &str = "2026.4.1";

const WHEEL: Wheel = Wheel {
    requirement: "openvino==2026.4.1",
    file: "openvino-2026.4.1-22982-cp311-cp311-manylinux_2_28_x86_64.whl",
    platform: "manylinux_2_28_x86_64",
    sha256: "2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf",
};

/// What reads ONNX and computes on a CPU; the wheel's other 70 MB are for other formats and devices.
const LIBRARIES: [&str; 5] = [
    "libopenvino.so.2641",
    "libopenvino_c.so.2641",
    "libopenvino_intel_cpu_plugin.so",
    "libopenvino_onnx_frontend.so.2641",
    "libtbb.so.12",
];

/// The versions that ship without the ONNX file that their manifest lists. It is made of their weights, where these are.
const MODELS: [(&str, u32); 3] = [("bird", 1), ("bird", 2), ("fashion-mnist", 1)];

/// `make openvino`: the library, and the files for it.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Demo, &[])?;
    setup::ensure(workspace, Purpose::Demo, &[Part::Openvino])?;
    demo::build(workspace)?;
    export(workspace, &workspace.target().join("release/model"))
}

/// Takes away the ONNX files of other weights than those that are there now, as after a `git pull`: with them a version is not whole, and
/// nothing serves it.
pub(crate) fn drop_stale(root: &Path) -> Result<()> {
    for (name, version) in MODELS {
        let folder = root.join(format!("weights/{name}/{version}"));
        let file = folder.join("model.onnx");
        let manifest = fs::read_to_string(folder.join("manifest.yaml")).unwrap_or_default();
        if file.is_file() && !manifest.contains(&sha256(&file)?) {
            fs::remove_file(&file).with_context(|| format!("can't remove {}", file.display()))?;
            println!("    {name} {version}: took away the ONNX file of older weights");
        }
    }
    Ok(())
}

/// Makes the ONNX files that are not there, by the program `model`, of all versions whose weights are.
pub(crate) fn export(workspace: &Workspace, program: &Path) -> Result<()> {
    for (name, version) in MODELS {
        if !workspace.root().join(format!("weights/{name}/{version}/model.safetensors")).is_file() {
            continue;
        }
        let version = version.to_string();
        step(&format!("{name} {version} as ONNX"), || {
            let mut model = Command::new(program);
            // Where the manifest lists it, and nowhere else.
            model.env_remove("MLAAS_OUTPUT").env_remove("MLAAS_WEIGHTS");
            model.args(["export", name, &version, "--format", "onnx"]).current_dir(workspace.root());
            process::run(&mut model)
        })?;
    }
    Ok(())
}

/// Fetches the library unless it is there.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let folder = workspace.deps().join("openvino");
    if is_whole(&folder) {
        return Ok(());
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("OpenVINO can be fetched for x86-64 Linux only: name the folder of one in MLAAS_OPENVINO");
    }
    step(&format!("OpenVINO {VERSION}: a download of 59 MB, once"), || {
        let wheel = fetch::wheel(workspace, &WHEEL)?;
        let scratch = workspace.scratch("openvino")?;
        fetch::unpack(&wheel, &scratch, place)?;
        std::fs::write(scratch.join("version"), format!("{VERSION}\n"))?;
        if !is_whole(&scratch) {
            bail!("the wheel of OpenVINO {VERSION} lacks a file; {} shows what came", scratch.display());
        }
        workspace.publish(&scratch, &folder)?;
        fetch::forget(&wheel)
    })
}

fn is_whole(folder: &Path) -> bool {
    let version = std::fs::read_to_string(folder.join("version")).unwrap_or_default();
    version.trim() == VERSION && LIBRARIES.iter().all(|name| folder.join("lib").join(name).is_file())
}

/// Where a member of the wheel goes, if it is wanted.
fn place(member: &str) -> Option<PathBuf> {
    let (folder, name) = member.rsplit_once('/')?;
    match folder {
        "openvino/libs" if LIBRARIES.contains(&name) => Some(Path::new("lib").join(name)),
        _ if folder.starts_with("openvino-") && folder.contains(".dist-info/licenses") => {
            Some(Path::new("licenses/openvino").join(name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_computes_and_its_licences_are_taken_and_nothing_else() {
        assert_eq!(place("openvino/libs/libtbb.so.12"), Some("lib/libtbb.so.12".into()));
        let licences = "openvino-2026.4.1.dist-info/licenses";
        assert_eq!(place(&format!("{licences}/LICENSE")), Some("licenses/openvino/LICENSE".into()));
        let third = format!("{licences}/licensing/onednn_third-party-programs.txt");
        assert_eq!(place(&third), Some("licenses/openvino/onednn_third-party-programs.txt".into()));
        for member in
            ["openvino/libs/libopenvino_intel_gpu_plugin.so", "openvino/__init__.py", "../libtbb.so.12"]
        {
            assert_eq!(place(member), None, "{member}");
        }
    }

    #[test]
    fn a_folder_of_another_version_is_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        for name in LIBRARIES {
            std::fs::write(folder.path().join("lib").join(name), "").unwrap();
        }
        assert!(!is_whole(folder.path()));
        std::fs::write(folder.path().join("version"), "2026.4.1\n").unwrap();
        assert!(is_whole(folder.path()));
        std::fs::remove_file(folder.path().join("lib/libtbb.so.12")).unwrap();
        assert!(!is_whole(folder.path()));
    }

    #[test]
    fn the_file_of_older_weights_goes_and_that_of_these_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("weights/fashion-mnist/1");
        let file = folder.join("model.onnx");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&file, "net").unwrap();
        // printf net | sha256sum
        let digest = "a08a0fcbdeafd3c1b3a4b495b9a9c9d96850f08946b52bc0622347d3b6e73b78";
        std::fs::write(folder.join("manifest.yaml"), format!("    sha256: {digest}\n")).unwrap();
        drop_stale(root.path()).unwrap();
        assert!(file.is_file());
        std::fs::write(&file, "Net").unwrap();
        drop_stale(root.path()).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn each_manifest_lists_an_onnx_file_and_how_to_get_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (name, version) in MODELS {
            let manifest =
                std::fs::read_to_string(root.join(format!("weights/{name}/{version}/manifest.yaml")))
                    .unwrap();
            // Version 2 of the birds is not set up by itself.
            let fetch =
                if version == 1 { "fetch: make openvino" } else { "fetch: make weights openvino BIRD=2" };
            for line in ["engine: openvino", "file: model.onnx", fetch] {
                assert!(
                    manifest.contains(line),
                    "weights/{name}/{version}/manifest.yaml does not say {line:?}"
                );
            }
        }
    }
}
