//! Child processes that never outlive whoever started them: they end when their handle is dropped and, by the kernel's
//! doing, when the thread that started them ends, however it does. xtask and the tests start everything through this.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// How often is looked whether a child has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How a child is ended when nobody wants it any more.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// With SIGKILL, and it alone: it stays in its parent's process group, so that a terminal's Ctrl-C reaches it.
    AtOnce,
    /// With SIGTERM, and with SIGKILL after this time. It has a process group of its own and all of that is ended.
    Asked(Duration),
}

impl Ending {
    fn signal(self) -> Signal {
        match self {
            Self::AtOnce => Signal::SIGKILL,
            Self::Asked(_) => Signal::SIGTERM,
        }
    }
}

/// A child process. Dropping it ends it as its [`Ending`] says.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    ending: Ending,
    /// Whom a signal goes to: a process, or as a negative number a process group.
    target: Pid,
}

/// The targets of those that may still run. Whoever is on it has not been waited for, so that its number is nobody else's.
static LIVING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn living() -> MutexGuard<'static, Vec<Pid>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a signal to all children that run.
pub fn signal_all(signal: Signal) {
    for target in living().iter() {
        // It may have ended by itself in this moment.
        kill(*target, signal).ok();
    }
}

/// Does something while no child is being started. Until a new process has become its program it has open whatever this one
/// has, so that what is closed meanwhile stays open: a port that is given up is still taken.
pub fn between_starts<T>(act: impl FnOnce() -> T) -> T {
    let _list = living();
    act()
}

impl Child {
    /// Starts it, with no signal blocked and none that asks for its end ignored. It ends with the calling *thread*, so that this should be one that lasts.
    ///
    /// # Errors
    /// The system's, where it can't be started.
    pub fn start(command: &mut Command, ending: Ending) -> io::Result<Self> {
        tie(command, ending);
        // Until it is on the list no signal is sent to the others: none is sent past it.
        let mut list = living();
        let child = command.spawn()?;
        let pid = child.id().cast_signed();
        let target = Pid::from_raw(if matches!(ending, Ending::Asked(_)) { -pid } else { pid });
        list.push(target);
        Ok(Self { child, ending, target })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it writes to stdout, once, where that is a pipe.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// What it writes to stderr, once, where that is a pipe.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How it ended, where it has.
    ///
    /// # Errors
    /// The system's, where it can't be waited for.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        // In one step with the list, so that no signal can meet a stranger who got the number next.
        let mut list = living();
        let status = self.child.try_wait()?;
        if status.is_some() {
            list.retain(|other| *other != self.target);
        }
        Ok(status)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The system's, where it can't be waited for.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            self.has_ended(WaitPidFlag::WEXITED)?;
        }
    }

    /// Waits for its end until that moment; `None` where it has not come.
    ///
    /// # Errors
    /// The system's, where it can't be waited for.
    pub fn wait_until(&mut self, end: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            match self.try_wait()? {
                None if Instant::now() < end => std::thread::sleep(LOOK),
                status => return Ok(status),
            }
        }
    }

    /// Ends it as its [`Ending`] says, and waits until it has ended. Whether it did so without being killed after its
    /// time; `true` where it had ended before.
    ///
    /// # Errors
    /// The system's, where it can't be waited for.
    pub fn end(&mut self) -> io::Result<bool> {
        if self.try_wait()?.is_some() {
            return Ok(true);
        }
        // A signal meets nobody where it has just ended.
        kill(self.target, self.ending.signal()).ok();
        let mut in_time = true;
        if let Ending::Asked(grace) = self.ending {
            let deadline = Instant::now() + grace;
            while in_time && !self.has_ended(WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)? {
                in_time = Instant::now() < deadline;
                std::thread::sleep(LOOK);
            }
            // Its own children too, if it forgot any: the group keeps its number until the child is waited for.
            kill(self.target, Signal::SIGKILL).ok();
        }
        self.wait()?;
        Ok(in_time)
    }

    /// Whether it has ended; it is not waited for.
    fn has_ended(&self, flags: WaitPidFlag) -> io::Result<bool> {
        loop {
            match waitid(Id::Pid(self.pid()), flags | WaitPidFlag::WNOWAIT) {
                Err(nix::Error::EINTR) => {}
                status => return Ok(status?.pid().is_some()),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It fails only where somebody else has waited for it, and then it has ended.
        self.end().ok();
    }
}

/// Ties a program's life to this thread's, and gives it the signals that this thread may block, and those that this process
/// ignores because a shell started it in its background.
#[allow(unsafe_code)]
fn tie(command: &mut Command, ending: Ending) {
    if matches!(ending, Ending::Asked(_)) {
        command.process_group(0);
    }
    let parent = nix::unistd::getpid();
    let hook = move || {
        nix::sys::prctl::set_pdeathsig(ending.signal())?;
        for asks_to_end in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
            // SAFETY: no function is called at a signal, and none was.
            unsafe { signal(asks_to_end, SigHandler::SigDfl) }?;
        }
        SigSet::empty().thread_set_mask()?;
        // Whose parent is another by now has missed its signal.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: the hook makes system calls only, allocates nothing and takes no lock, which is what may be done between fork
    // and exec.
    unsafe { command.pre_exec(hook) };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    use super::*;

    const POLITE: Ending = Ending::Asked(Duration::from_secs(60));

    fn shell(script: &str, ending: Ending) -> (Child, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Child::start(&mut command, ending).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout().unwrap()).read_line(&mut line).unwrap();
        (child, line.trim().to_owned())
    }

    fn alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // One that has ended stays as a zombie until somebody asks after it.
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn dropping_ends_the_whole_group() {
        let (child, grandchild) = shell("sleep 600 & echo $!; wait", POLITE);
        assert!(alive(&grandchild));
        drop(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while alive(&grandchild) {
            assert!(Instant::now() < deadline, "the grandchild outlived its group");
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn what_does_not_listen_is_killed_after_its_time() {
        let (mut child, _) =
            shell("trap '' TERM; echo; exec sleep 600", Ending::Asked(Duration::from_millis(50)));
        assert!(!child.end().unwrap());
        let (mut child, _) = shell("trap '' TERM; echo; exec sleep 600", Ending::AtOnce);
        assert!(child.end().unwrap());
        assert!(!alive(&child.pid().to_string()));
    }

    #[test]
    fn a_child_hears_signals_that_its_parent_blocks() {
        SigSet::from(Signal::SIGTERM).thread_block().unwrap();
        let mut sleep = Child::start(Command::new("sleep").arg("600"), POLITE).unwrap();
        assert!(sleep.end().unwrap(), "it had to be killed");
    }

    #[test]
    #[allow(unsafe_code)]
    fn what_is_closed_between_starts_is_closed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mut forked, tell) = std::io::pipe().unwrap();
        let starter = std::thread::spawn(move || {
            let mut command = Command::new("true");
            let linger = move || {
                nix::unistd::write(&tell, b".")?;
                // It is not its program yet: nothing can be waited for here, so this is how long that takes.
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            };
            // SAFETY: as in `tie`.
            unsafe { command.pre_exec(linger) };
            Child::start(&mut command, Ending::AtOnce).unwrap().wait().unwrap()
        });
        io::Read::read_exact(&mut forked, &mut [0]).unwrap();
        let again = between_starts(|| {
            drop(listener);
            std::net::TcpListener::bind(address)
        });
        assert!(again.is_ok(), "{again:?}");
        assert!(starter.join().unwrap().success());
    }

    #[test]
    fn a_child_hears_signals_that_its_parent_ignores() {
        // The parent ignores it as one does that a shell started in its background.
        let script =
            "trap '' INT; exec \"$0\" --exact tests::started_by_the_test_of_ignored_signals --ignored";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(std::env::current_exe().unwrap()).stdout(Stdio::null());
        let status = Child::start(&mut command, Ending::AtOnce).unwrap().wait().unwrap();
        assert!(status.success(), "{status}");
    }

    #[test]
    #[ignore = "only another test starts it"]
    fn started_by_the_test_of_ignored_signals() {
        let (mut child, _) = shell("echo; exec sleep 600", Ending::AtOnce);
        kill(child.pid(), Signal::SIGINT).unwrap();
        let status = child.wait_until(Instant::now() + Duration::from_secs(60)).unwrap();
        assert!(status.is_some_and(|status| !status.success()), "it went on");
    }

    #[test]
    fn it_ends_with_the_thread_that_started_it() {
        let starter = || shell("echo; exec sleep 600", Ending::AtOnce).0;
        let mut child = std::thread::spawn(starter).join().unwrap();
        let status = child.wait_until(Instant::now() + Duration::from_secs(60)).unwrap();
        assert!(status.is_some_and(|status| !status.success()));
    }

    #[test]
    fn one_that_has_ended_says_how_and_gets_no_signal() {
        let (mut child, _) = shell("exit 7", POLITE);
        assert_eq!(child.wait().unwrap().code(), Some(7));
        assert!(!living().contains(&child.target));
        assert!(child.end().unwrap());
        assert_eq!(child.try_wait().unwrap().and_then(|status| status.code()), Some(7));
    }
}
