//! libtorch for the CPU, cut out of the wheel of PyTorch: `.deps/libtorch`, which `.cargo/config.toml` names.
//!
//! The wheel is a CUDA build (there is no other for this platform on the package index) of which only the CPU's half is
//! kept. That half needs two small libraries of NVIDIA's at load time, and nothing of a GPU.

use std::{
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    fetch::{self, Wheel},
    process,
    progress::step,
    workspace::Workspace,
};

/// What tch 0.24 binds.
const VERSION: &str = "2.11.0";

const TORCH: Wheel = Wheel {
    requirement: "torch==2.11.0",
    file: "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    platform: "manylinux_2_28_x86_64",
    sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
};
const CUPTI: Wheel = Wheel {
    requirement: "nvidia-cuda-cupti==13.0.85",
    file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
    platform: "manylinux_2_25_x86_64",
    sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
};
const CUDART: Wheel = Wheel {
    requirement: "nvidia-cuda-runtime==13.0.96",
    file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    platform: "manylinux_2_17_x86_64",
    sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
};

const LIBRARIES: [&str; 6] =
    ["libtorch.so", "libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcupti.so.13", "libcudart.so.13"];

/// Fetches and builds the folder unless it is there.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let folder = workspace.deps().join("libtorch");
    if is_whole(&folder) {
        return Ok(());
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!(
            "libtorch can be fetched for x86-64 Linux only: put a libtorch {VERSION} for this machine into {}, \
             with its version in the file build-version",
            folder.display()
        );
    }
    step(&format!("libtorch {VERSION}: a download of 544 MB, once"), || build(workspace, &folder))
}

fn is_whole(folder: &Path) -> bool {
    let version = std::fs::read_to_string(folder.join("build-version")).unwrap_or_default();
    version.trim() == VERSION
        && folder.join("include/torch/csrc/api/include/torch/torch.h").is_file()
        && (LIBRARIES.iter().all(|name| folder.join("lib").join(name).is_file())
            || !cfg!(all(target_arch = "x86_64", target_os = "linux")))
}

fn build(workspace: &Workspace, folder: &Path) -> Result<()> {
    let wheels = [&TORCH, &CUPTI, &CUDART].map(|pinned| fetch::wheel(workspace, pinned));
    let scratch = workspace.scratch("libtorch")?;
    let mut paths = Vec::new();
    for wheel in wheels {
        let path = wheel?;
        fetch::unpack(&path, &scratch, place)?;
        paths.push(path);
    }
    stub(&scratch.join("lib"))?;
    std::fs::write(scratch.join("build-version"), format!("{VERSION}\n"))?;
    if !is_whole(&scratch) {
        bail!(
            "the wheels of PyTorch {VERSION} lack a file that is needed; {} shows what came",
            scratch.display()
        );
    }
    workspace.publish(&scratch, folder)?;
    paths.iter().try_for_each(|path| fetch::forget(path))
}

/// Where a member of a wheel goes, if it is wanted. `libtorch_cuda.so` must stay away: torch-sys links it where it sees it.
fn place(member: &str) -> Option<PathBuf> {
    let path = Path::new(member);
    if path.components().any(|part| !matches!(part, Component::Normal(_))) {
        return None;
    }
    if let Ok(header) = path.strip_prefix("torch/include") {
        return Some(Path::new("include").join(header));
    }
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.to_str()?;
    match folder {
        "torch/lib" | "nvidia/cu13/lib" if name != "libtorch.so" && LIBRARIES.contains(&name) => {
            Some(Path::new("lib").join(name))
        }
        _ if folder.ends_with(".dist-info/licenses") => {
            Some(Path::new("licenses").join(folder.split('-').next()?).join(name))
        }
        _ => None,
    }
}

/// An empty library in the place of the wheel's libtorch.so, which would pull CUDA in.
fn stub(lib: &Path) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.current_dir(lib)
        .args(["-shared", "-o", "libtorch.so", "-Wl,-soname,libtorch.so", "-Wl,--no-as-needed", "-L."])
        .args(["-ltorch_cpu", "-lc10", "-Wl,--allow-shlib-undefined", "-Wl,-rpath,$ORIGIN"]);
    process::run(&mut cc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_stays_in_the_wheel() {
        assert_eq!(place("torch/lib/libtorch_cpu.so"), Some("lib/libtorch_cpu.so".into()));
        assert_eq!(place("nvidia/cu13/lib/libcupti.so.13"), Some("lib/libcupti.so.13".into()));
        assert_eq!(place("torch/include/torch/script.h"), Some("include/torch/script.h".into()));
        assert_eq!(place("torch-2.11.0.dist-info/licenses/LICENSE"), Some("licenses/torch/LICENSE".into()));
        for member in
            ["torch/lib/libtorch_cuda.so", "torch/lib/libtorch.so", "torch/include/../../x", "/etc/passwd"]
        {
            assert_eq!(place(member), None, "{member}");
        }
    }

    #[test]
    fn half_a_folder_is_built_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_whole(folder.path()));
        std::fs::write(folder.path().join("build-version"), VERSION).unwrap();
        assert!(!is_whole(folder.path()), "a version alone is not libtorch");
    }
}
