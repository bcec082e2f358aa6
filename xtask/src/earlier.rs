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
    let stamp = folder.join("commit");
    if std::fs::read_to_string(&stamp).unwrap_or_default() != COMMIT {
        step(&format!("files of the earlier commit {COMMIT}"), || {
            export(workspace.root(), &folder, &checkout)?;
            std::fs::write(&stamp, COMMIT).with_context(|| format!("can't write {}", stamp.display()))
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
    if checkout.exists() {
        std::fs::remove_dir_all(checkout).with_context(|| format!("can't empty {}", checkout.display()))?;
    }
    std::fs::create_dir_all(checkout).with_context(|| format!("can't make {}", checkout.display()))?;
    let archive = folder.join("files.tar");
    let git = ["archive", "--format", "tar", "--output"];
    process::run(Command::new("git").current_dir(root).args(git).arg(&archive).arg(COMMIT))
        .context("this needs a clone with its whole history: `git fetch --unshallow`, and try again")?;
    // As young as they are: by the commit's time cargo would take them for built.
    process::run(Command::new("tar").args(["-x", "--touch", "-f"]).arg(&archive).arg("-C").arg(checkout))?;
    std::fs::remove_file(&archive).with_context(|| format!("can't remove {}", archive.display()))
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
    }
}
