//! `make audit`: cargo-deny holds the dependencies to the whole of deny.toml. Apart from the advisories, for which it needs the
//! internet, `make lint` holds them to the same file with no tool but cargo.

use std::process::Command;

use anyhow::Result;

use crate::{process, progress::step, workspace::Workspace};

/// Held to one version, as all that is fetched.
const VERSION: &str = "0.20.2";

/// Gets cargo-deny where it is missing, which takes minutes once, and runs it.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let folder = workspace.deps().join("cargo-deny");
    let program = folder.join("bin/cargo-deny");
    let present = process::output(Command::new(&program).arg("--version"));
    if !present.is_ok_and(|text| text.split_whitespace().nth(1) == Some(VERSION)) {
        step("cargo-deny (some minutes, once)", || {
            let mut cargo = process::cargo(workspace.root());
            // Not optimised: it builds in a third of the time and takes seconds either way.
            cargo.args(["install", "--quiet", "--locked", "--force", "--profile", "dev"]);
            process::run(cargo.args(["cargo-deny", "--version", VERSION, "--root"]).arg(&folder))
        })?;
    }
    step("dependencies against deny.toml", || {
        process::run(Command::new(&program).current_dir(workspace.root()).args(["--locked", "check"]))
    })
}
