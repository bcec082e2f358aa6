//! The executables of an earlier commit, for the tests of rolling upgrades: checked out and built in `target/earlier`.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{process, progress::step, workspace::Workspace};

/// The last commit before error codes were open, before `ce_timeoutms`, and before other versions were refused.
const COMMIT: &str = "870e4e0";

/// Takes as long as a first build, once.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let folder = workspace.target().join("earlier");
    let checkout = folder.join("checkout");
    if !checkout.is_dir() {
        step(&format!("files of the earlier commit {COMMIT}"), || {
            export(workspace.root(), &folder, &checkout)
        })?;
    }
    step(&format!("build of the earlier commit {COMMIT} (minutes, once)"), || {
        let mut cargo = process::cargo(&checkout);
        cargo.env("LIBTORCH", workspace.deps().join("libtorch"));
        cargo.args(["build", "--quiet", "--locked", "--workspace", "--bins", "--target-dir"]);
        process::run(cargo.arg(folder.join("target")))
    })
}

/// Not a worktree, which git would remember for ever.
fn export(root: &Path, folder: &Path, checkout: &Path) -> Result<()> {
    let partial = folder.join("partial");
    if partial.exists() {
        std::fs::remove_dir_all(&partial).with_context(|| format!("can't empty {}", partial.display()))?;
    }
    std::fs::create_dir_all(&partial).with_context(|| format!("can't make {}", partial.display()))?;
    let archive = folder.join("files.tar");
    let git = ["archive", "--format", "tar", "--output"];
    process::run(Command::new("git").current_dir(root).args(git).arg(&archive).arg(COMMIT))
        .context("this needs a clone with its whole history: `git fetch --unshallow`, and try again")?;
    process::run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&partial))?;
    std::fs::remove_file(&archive)?;
    std::fs::rename(&partial, checkout).with_context(|| format!("can't make {}", checkout.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_without_the_history_is_told_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        process::run(Command::new("git").args(["init", "--quiet"]).arg(folder.path())).unwrap();
        let checkout = folder.path().join("earlier/checkout");
        let error = export(folder.path(), &folder.path().join("earlier"), &checkout).unwrap_err();
        assert!(format!("{error:#}").contains("git fetch --unshallow"), "{error:#}");
        assert!(!checkout.exists());
    }
}
