//! `make audit`: cargo-deny holds the dependencies to the whole of deny.toml. Apart from licences, sources and the advisories, for
//! which it needs the internet, `make lint` holds them to the same file with no tool but cargo.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

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
    check(&program, workspace.root())
}

/// First what needs no internet, so that it is known where there is none. Advisories that can't be fetched are a failure: nothing
/// is known of them then.
fn check(program: &Path, root: &Path) -> Result<()> {
    let deny = |arguments: &[&str]| {
        process::run(Command::new(program).current_dir(root).arg("--locked").args(arguments))
    };
    step("bans, licences and sources", || deny(&["check", "bans", "licenses", "sources"]))?;
    step("the advisories of RustSec", || deny(&["fetch", "db"]))
        .context("the advisories could not be fetched, so known vulnerabilities were NOT checked")?;
    step("known vulnerabilities", || deny(&["check", "advisories"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cargo-deny that notes what it is asked for and fails at one thing.
    fn checked(failing: &str) -> (String, Result<()>) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("cargo-deny");
        let script = format!("#!/bin/sh\necho \"$*\" >> asked\n! [ \"$2 $3\" = \"{failing}\" ]\n");
        process::write_script(&program, &script);
        let result = check(&program, folder.path());
        (std::fs::read_to_string(folder.path().join("asked")).unwrap(), result)
    }

    #[test]
    fn without_the_internet_the_rest_is_checked_and_it_is_no_success() {
        let (asked, result) = checked("fetch db");
        assert_eq!(asked, "--locked check bans licenses sources\n--locked fetch db\n");
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains("known vulnerabilities were NOT checked"), "{error}");
    }

    #[test]
    fn each_check_can_fail() {
        assert!(checked("nothing").1.is_ok());
        assert!(checked("check bans").1.is_err());
        let (asked, result) = checked("check advisories");
        assert!(result.is_err() && asked.ends_with("--locked check advisories\n"), "{asked}");
    }
}
