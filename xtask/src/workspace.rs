//! Where things lie in the checkout.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout and the folder in it that holds what was fetched.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The checkout that this program was started from, through `cargo xtask`, else the one that it was built from.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies at the top of the file system")?;
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Ignored by git; everything in it can be made again.
    pub(crate) fn deps(&self) -> PathBuf {
        self.root.join(".deps")
    }

    /// An empty folder for work that is renamed into place when it is whole. What an interrupted run left there is removed.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.deps().join("partial").join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("can't empty {}", path.display()))?;
        }
        std::fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(path)
    }

    /// Puts a finished folder or file where it is looked for.
    pub(crate) fn publish(&self, from: &Path, to: &Path) -> Result<()> {
        if to.is_dir() {
            std::fs::remove_dir_all(to).with_context(|| format!("can't replace {}", to.display()))?;
        }
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
        }
        std::fs::rename(from, to)
            .with_context(|| format!("can't move {} to {}", from.display(), to.display()))
    }

    /// The folder that cargo builds into.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.root.join(folder),
            None => self.root.join("target"),
        }
    }
}
