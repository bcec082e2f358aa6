//! Starting other programs, and leaving none of them behind: whatever this program started is ended when it ends, is
//! interrupted or is killed.

use std::{
    collections::BTreeSet,
    io::Read,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        signal::{SigSet, Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a program may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(15);

/// What is returned after Ctrl-C or SIGTERM.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

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
            let signal = if again { Signal::SIGKILL } else { Signal::SIGTERM };
            for group in running().iter() {
                // It may have ended by itself in this moment.
                let _gone = killpg(*group, signal);
            }
        }
    })?;
    Ok(())
}

/// A program in a process group of its own. Dropping it ends the whole group.
pub(crate) struct Running {
    child: Child,
    name: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        check_interrupt()?;
        let name = command.get_program().to_string_lossy().into_owned();
        adopt(command);
        let mut list = running();
        let child = command.spawn().with_context(|| format!("can't start {name}"))?;
        list.push(pid(&child));
        drop(list);
        let started = Self { child, name };
        // A signal that came while it was being started did not reach it.
        check_interrupt()?;
        Ok(started)
    }

    pub(crate) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        self.await_end(WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        self.reap()
    }

    /// Waits for its end until that moment; `None` when it has not come.
    pub(crate) fn wait_until(&mut self, end: Instant) -> Result<Option<ExitStatus>> {
        while !self.await_end(WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG)? {
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.reap().map(Some)
    }

    /// What its threads are called, as far as Linux keeps names.
    pub(crate) fn thread_names(&self) -> BTreeSet<String> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).ok();
        threads
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(name)
            .map(|name| name.trim_end().to_owned())
            .collect()
    }

    fn await_end(&self, flags: WaitPidFlag) -> Result<bool> {
        loop {
            match waitid(Id::Pid(pid(&self.child)), flags) {
                Err(nix::Error::EINTR) => {}
                Err(error) => bail!("can't wait for {}: {error}", self.name),
                Ok(status) => return Ok(status.pid().is_some()),
            }
        }
    }

    /// Collects a program that has ended. Its number is taken off the list in the same step, so that no signal can meet a
    /// stranger who got the number next.
    fn reap(&mut self) -> Result<ExitStatus> {
        let mut list = running();
        let status = self.child.wait().with_context(|| format!("can't wait for {}", self.name))?;
        let pid = pid(&self.child);
        list.retain(|other| *other != pid);
        Ok(status)
    }

    /// Ends it, politely first. Returns whether it ended within the grace time.
    fn terminate(&mut self) -> Result<bool> {
        let group = pid(&self.child);
        if !running().contains(&group) {
            return Ok(true);
        }
        let _gone = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        let mut polite = true;
        while !self.await_end(WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG)? {
            if polite && Instant::now() >= deadline {
                polite = false;
                let _gone = killpg(group, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Its own children, if it forgot any; the group keeps its number until it is collected.
        let _none = killpg(group, Signal::SIGKILL);
        self.reap()?;
        Ok(polite)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.terminate() {
            eprintln!("xtask: {error:#}");
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Ties a program's life to this one's, and gives it the signals that this one blocked for [`watch_signals`].
#[allow(unsafe_code)]
fn adopt(command: &mut Command) {
    let hook = || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: the hook makes two system calls, allocates nothing and takes no lock, which is what may be done between fork and exec.
    unsafe { command.process_group(0).pre_exec(hook) };
}

/// Runs a program to its end with this terminal as its output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = Running::start(command.stdin(Stdio::null()))?.wait()?;
    check_interrupt()?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a program to its end and returns what it printed; its complaints are part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    // Both at once, or a program that fills one pipe would wait for ever.
    let stderr = std::thread::spawn(move || read_all(stderr));
    let text = read_all(stdout);
    let complaint = stderr.join().unwrap_or_default();
    let status = running.wait()?;
    check_interrupt()?;
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn dropping_ends_the_whole_group() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped());
        let mut running = Running::start(&mut shell).unwrap();
        let mut line = String::new();
        BufReader::new(running.stdout().unwrap()).read_line(&mut line).unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        assert!(alive());
        drop(running);
        let deadline = Instant::now() + Duration::from_secs(10);
        while alive() {
            assert!(Instant::now() < deadline, "the grandchild outlived its group");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_started_program_hears_signals_that_this_one_blocks() {
        SigSet::from(Signal::SIGTERM).thread_block().unwrap();
        let mut sleep = Running::start(Command::new("sleep").arg("600")).unwrap();
        assert!(sleep.terminate().unwrap(), "it had to be killed");
    }

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
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("mlaas-no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("mlaas-no-such-program"));
    }
}
