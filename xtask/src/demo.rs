//! `make demo`: sets up, builds in release, and runs `tests/src/bin/demo.rs`. (A program, not an example: with an
//! example cargo gives dependencies the features that tests want, and the programs would be built twice.)

use anyhow::Result;

use crate::{process, progress::step, setup, suite, system::Purpose, workspace::Workspace};

/// Leaves nothing running. With `page` it runs on, a web page in front, until it is interrupted.
pub(crate) fn run(workspace: &Workspace, page: bool) -> Result<()> {
    setup::ensure(workspace, Purpose::Demo, &[])?;
    build(workspace)?;
    step("two workers name images", || {
        let mut demo = std::process::Command::new(workspace.target().join("release/demo"));
        demo.current_dir(workspace.root()).env(suite::BUILT, "1").args(page.then_some("--ui"));
        match process::run(&mut demo) {
            // That is how a page ends.
            Err(error) if page && error.is::<process::Interrupted>() => Ok(()),
            ended => ended,
        }
    })
}

/// The programs as users run them. All at once, so that whoever builds them first has built them for the others.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    step("build in release (some minutes the first time)", || {
        let mut cargo = process::cargo(workspace.root());
        // `gateway` and `model` too: the README's next steps call them.
        let programs = ["broker-worker", "client", "gateway", "model", "e2e"];
        let programs = programs.into_iter().flat_map(|name| ["--package", name]);
        let what = ["build", "--locked", "--release", "--bins"];
        process::run(cargo.args(what).args(programs))
    })
}
