//! `make coverage`: which part of the lines the tests reach that need neither libtorch nor a real Kafka, by the compiler's own
//! instruments. What reads them, the toolchain's llvm-tools, comes with `rustup component add llvm-tools`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, progress::step, workspace::Workspace};

/// Builds and runs the tests of the default members with instruments, in a folder of its own, and prints the table.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tools = tools(workspace)?;
    let folder = workspace.target().join("coverage");
    let profiles = folder.join("profiles");
    if profiles.exists() {
        std::fs::remove_dir_all(&profiles).with_context(|| format!("can't empty {}", profiles.display()))?;
    }
    let instrumented = |arguments: &[&str]| {
        let mut cargo = process::cargo(workspace.root());
        cargo
            .arg("test")
            .args(arguments)
            .args(["--locked", "--lib", "--bins", "--tests"])
            .env("RUSTFLAGS", "-C instrument-coverage")
            .env("CARGO_TARGET_DIR", &folder)
            // Each process merges its counts into one of four files.
            .env("LLVM_PROFILE_FILE", profiles.join("%4m.profraw"));
        cargo
    };
    let executables = step("tests with instruments", || {
        let messages = process::output(&mut instrumented(&["--no-run", "--message-format=json"]))?;
        process::run(&mut instrumented(&["--no-fail-fast"]))?;
        Ok(executables(&messages))
    })?;
    step("counting", || {
        let merged = folder.join("tests.profdata");
        let raw = std::fs::read_dir(&profiles).context("the tests wrote no counts")?;
        let raw = raw.flatten().map(|entry| entry.path());
        process::run(
            Command::new(tools.join("llvm-profdata"))
                .args(["merge", "--sparse", "-o"])
                .arg(&merged)
                .args(raw),
        )?;
        let mut report = Command::new(tools.join("llvm-cov"));
        report.args([
            "report",
            "--summary-only",
            "--ignore-filename-regex",
            r"/(registry/src/index[^/]*|rustc|tests|target)/",
        ]);
        report.arg("--instr-profile").arg(&merged);
        for executable in &executables {
            report.arg("--object").arg(executable);
        }
        process::run(&mut report)
    })
}

/// The folder of the toolchain's llvm-tools.
fn tools(workspace: &Workspace) -> Result<PathBuf> {
    let rustc = |arguments: &[&str]| {
        process::output(Command::new("rustc").current_dir(workspace.root()).args(arguments))
    };
    let version = rustc(&["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let folder = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib").join(host).join("bin");
    if !folder.join("llvm-cov").is_file() {
        bail!("the toolchain's llvm-tools are missing: `rustup component add llvm-tools`, and try again");
    }
    Ok(folder)
}

/// Those that cargo built, programs that the tests start included.
fn executables(messages: &str) -> Vec<PathBuf> {
    let read = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}
{\"reason\":\"compiler-artifact\",\"executable\":\"/t/deps/wire-1\"}
not json
{\"reason\":\"build-finished\",\"success\":true}
";
        assert_eq!(executables(messages), [PathBuf::from("/t/deps/wire-1")]);
    }
}
