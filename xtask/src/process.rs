//! Starting other programs, and leaving none of them behind: whatever this program started is ended when it ends, is
//! interrupted or is killed.

use std::{
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use supervisor::{Child, Ending};

use crate::progress::seconds;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a program may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(15);

/// How long a program may take whose output is waited for: a build is among them.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// What is returned after Ctrl-C or SIGTERM.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// An error if the user wants to stop.
pub(crate) fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Interrupted.into()) } else { Ok(()) }
}

/// From here on Ctrl-C, SIGTERM and a closed terminal end the programs that were started; those who wait for them then
/// return [`Interrupted`]. The second signal ends them at once. Call it before any other thread exists.
pub(crate) fn watch_signals() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("can't block signals")?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while signals.wait().is_ok() {
            let again = INTERRUPTED.swap(true, Ordering::SeqCst);
            supervisor::signal_all(if again { Signal::SIGKILL } else { Signal::SIGTERM });
        }
    })?;
    Ok(())
}

/// Starts a program in a process group of its own. Dropping it ends the whole group.
pub(crate) fn start(command: &mut Command) -> Result<Child> {
    check_interrupt()?;
    let started = Child::start(command, Ending::Asked(GRACE));
    let child = started.with_context(|| format!("can't start {}", command.get_program().display()))?;
    // A signal that came while it was being started did not reach it.
    check_interrupt()?;
    Ok(child)
}

/// Runs a program to its end with this terminal as its output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = start(command.stdin(Stdio::null()))?.wait()?;
    check_interrupt()?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a program to its end and returns what it printed; its complaints are part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    output_within(command, LONGEST)
}

/// The same, for a program that may hang.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> Result<String> {
    let line = describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = start(command)?;
    let (stdout, stderr) = (running.stdout(), running.stderr());
    // Both at once, or a program that fills one pipe would wait for ever.
    let stdout = std::thread::spawn(move || read_all(stdout));
    let stderr = std::thread::spawn(move || read_all(stderr));
    let ended = running.wait_until(Instant::now() + limit)?;
    // What still runs would hold the pipes open.
    drop(running);
    let (text, complaint) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    check_interrupt()?;
    let Some(status) = ended else { bail!("`{line}` did not end within {}", seconds(limit)) };
    if !status.success() {
        bail!("`{line}` failed ({status})\n{text}{}", complaint.trim_end());
    }
    Ok(text)
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What came before an error is still worth showing.
    let _partial = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a program runs and is content.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where the shell would find a program.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `cargo`, without what the cargo that started this program says about this program: it would make some build scripts
/// run again when the user next calls cargo by hand.
pub(crate) fn cargo(root: &std::path::Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let about_us = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        let of_make = ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"];
        if about_us.iter().any(|prefix| text.starts_with(prefix)) || of_make.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A script for a test to start. A process of its own writes it: what is open for writing can't be started, and a child that another
/// test starts just then has open what this process has.
#[cfg(test)]
pub(crate) fn write_script(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    let mut child = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_complaint() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("sh -c") && text.contains("exit status: 3") && text.contains("no such thing"),
            "{text}"
        );
    }

    #[test]
    fn what_hangs_is_ended_and_named() {
        // A child of its own holds the pipes too.
        let hangs = &mut Command::new("sh");
        let error =
            output_within(hangs.args(["-c", "sleep 600; true"]), Duration::from_millis(50)).unwrap_err();
        assert!(format!("{error:#}").contains("`sh -c sleep 600; true` did not end within"), "{error:#}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("mlaas-no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("mlaas-no-such-program"));
    }
}
