//! `make lint` and `make test`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    earlier, length, openvino, policy, process,
    progress::{seconds, step},
    setup,
    system::Purpose,
    watch, weights,
    workspace::Workspace,
};

/// The variable that says that all programs were built a moment ago, so that whoever starts them need not look.
pub(crate) const BUILT: &str = "MLAAS_E2E_BUILT";

/// The test that wants photographs which are not the project's.
const PHOTOGRAPHS: &str = "photographs_get_the_first_label_that_python_gives_them";

/// Formatting, dependency policy, clippy and documentation.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Demo, &[])?;
    text_steps(workspace)?;
    step("clippy", || {
        cargo(workspace, &["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])
    })?;
    documentation(workspace)
}

/// What needs no compiler.
fn text_steps(workspace: &Workspace) -> Result<()> {
    step("formatting", || cargo(workspace, &["fmt", "--all", "--check"]))?;
    policy::check(workspace)?;
    length::check(workspace)
}

fn documentation(workspace: &Workspace) -> Result<()> {
    step("documentation", || {
        let mut doc = process::cargo(workspace.root());
        doc.args(["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings");
        process::run(&mut doc)
    })
}

/// Everything that must hold before a change is taken.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let start = Instant::now();
    setup::ensure(workspace, Purpose::Test, &[])?;
    text_steps(workspace)?;
    // All in one call: apart programs and tests would get different features of some dependencies, and be built twice.
    step("build, and what clippy says of it", || {
        linted(workspace, &["build", "--locked", "--workspace", "--all-targets"])
    })?;
    documentation(workspace)?;
    openvino::export(workspace, &workspace.target().join("debug/model"))?;
    let report = report_path(workspace);
    forget(&report)?;
    let watched = watch::cargo_option(workspace)?;
    let tests = step("tests", || {
        linted(workspace, &["test", "--config", &watched, "--locked", "--workspace", "--no-fail-fast"])
    });
    let brokers = Brokers::read(&std::fs::read_to_string(&report).unwrap_or_default());
    eprint!("\nTests that passed, by the broker they ran on:\n{brokers}");
    tests?;
    if !brokers.real() {
        bail!("no test ran on a real Kafka");
    }
    eprintln!("all passed in {}", seconds(start.elapsed()));
    Ok(())
}

/// What takes longer than `make test` may, or more downloads: the tests that are marked `ignore`.
pub(crate) fn test_more(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Test, &[])?;
    setup::ensure(workspace, Purpose::More, &[])?;
    weights::run(workspace, 2)?;
    earlier::ensure(workspace)?;
    step("build", || cargo(workspace, &["build", "--locked", "--workspace", "--bins", "--tests"]))?;
    let watched = watch::cargo_option(workspace)?;
    let photographs = std::env::var_os("MLAAS_BIRDS").is_some();
    step("long tests", || {
        let test = ["test", "--config", &watched, "--locked", "--workspace", "--no-fail-fast"];
        let which = ["--test", "e2e", "--test", "parity", "--test", "browser", "--", "--ignored"];
        // These only another test starts.
        let mut but = vec!["--skip", "brokers::sleeper", "--skip", "harness::hangs"];
        if !photographs {
            but.extend(["--skip", PHOTOGRAPHS]);
        }
        cargo(workspace, &[&test[..], &which, &but].concat())
    })?;
    if !photographs {
        eprintln!(
            "not run: {PHOTOGRAPHS}, which wants photographs in MLAAS_BIRDS/<any>/* (docs/accuracy.md)"
        );
    }
    Ok(())
}

/// Where the end-to-end tests say which broker they ran on.
fn report_path(workspace: &Workspace) -> PathBuf {
    workspace.target().join("e2e-brokers.txt")
}

fn forget(report: &PathBuf) -> Result<()> {
    match std::fs::remove_file(report) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", report.display()))
        }
        _ => Ok(()),
    }
}

/// The tests that ran on each broker: the report has a line `<broker><tab><test>` for each test that passed.
struct Brokers(BTreeMap<String, BTreeSet<String>>);

impl Brokers {
    fn read(report: &str) -> Self {
        let mut brokers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (broker, test) in report.lines().filter_map(|line| line.split_once('\t')) {
            brokers.entry(broker.to_owned()).or_default().insert(test.to_owned());
        }
        Self(brokers)
    }

    /// Whether one of them was a Kafka, not the embedded broker.
    fn real(&self) -> bool {
        self.0
            .keys()
            .any(|broker| broker.contains("Apache Kafka") || broker.contains("KAFKA_BOOTSTRAP_SERVERS"))
    }
}

impl std::fmt::Display for Brokers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (broker, tests) in &self.0 {
            writeln!(f, "{:>5}  {broker}", tests.len())?;
        }
        if !self.real() {
            writeln!(f, "    0  a real Kafka")?;
        }
        Ok(())
    }
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    process::run(process::cargo(workspace.root()).args(arguments).env(BUILT, "1"))
}

/// The same with clippy's compiler in place of rustc, for the workspace's own crates: it looks and compiles at once, where `cargo clippy`
/// would have all dependencies read a second time, which in a fresh clone takes minutes.
fn linted(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let mut cargo = process::cargo(workspace.root());
    // As `cargo clippy` gives it what stands behind its `--`.
    let denied = ["--deny", "warnings"].map(|argument| format!("{argument}__CLIPPY_HACKERY__")).concat();
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").env("CLIPPY_ARGS", denied);
    process::run(cargo.args(arguments).env(BUILT, "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_broker() {
        let report = "Apache Kafka 4.3.1, one node\ta\nthe embedded broker\tb\nApache Kafka 4.3.1, one node\tc\nApache Kafka 4.3.1, one node\tc\n";
        let brokers = Brokers::read(report);
        assert!(brokers.real());
        assert_eq!(brokers.to_string(), "    2  Apache Kafka 4.3.1, one node\n    1  the embedded broker\n");
    }

    #[test]
    fn the_embedded_broker_alone_is_not_enough() {
        let brokers = Brokers::read("the embedded broker\ta\n");
        assert!(!brokers.real());
        assert!(brokers.to_string().contains("0  a real Kafka"));
        assert!(!Brokers::read("").real());
    }
}
