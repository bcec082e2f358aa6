//! A child process: its output is kept line by line, shown when its test fails, and it never outlives the test.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisor::{Child, Ending};

/// How many of its last lines a failed test shows of a process.
const SHOWN_LINES: usize = 80;

/// A running process, ended with SIGKILL when dropped.
pub struct Process {
    name: String,
    child: Child,
    /// What it wrote to stdout.
    pub stdout: Lines,
    /// What it wrote to stderr.
    pub stderr: Lines,
}

/// How a process ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// Where it can't be started.
    #[must_use]
    pub fn spawn(name: impl Into<String>, mut command: Command) -> Self {
        crate::current_test::note();
        let name = name.into();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            start_from_lasting_thread(command).unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let stdout = Lines::of(child.stdout());
        let stderr = Lines::of(child.stderr());
        let process = Self { name, child, stdout, stderr };
        living().push((process.pid(), process.name.clone(), process.stdout.clone(), process.stderr.clone()));
        process
    }

    /// Starts it and waits for its end.
    ///
    /// # Panics
    /// Where it can't be started or does not end in time.
    #[must_use]
    pub fn run(name: &str, command: Command, limit: Duration) -> Finished {
        Self::spawn(name, command).finish(limit)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Sends it a signal. One that has ended already gets none.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            kill(self.pid(), signal).ok();
        }
    }

    /// Stops it where it stands (SIGSTOP) until the value is dropped: its connections stay open and nothing answers.
    #[must_use = "it goes on when this is dropped"]
    pub fn freeze(&self) -> Frozen {
        kill(self.pid(), Signal::SIGSTOP).unwrap_or_else(|e| panic!("cannot stop {}: {e}", self.name));
        Frozen(self.pid())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It fails only where it has ended.
        self.child.end().ok();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        match self.child.wait_until(Instant::now() + limit) {
            Ok(Some(status)) => {
                self.stdout.wait_for_end();
                self.stderr.wait_for_end();
                status
            }
            Ok(None) => panic!("{} did not end within {limit:?}", self.name),
            Err(e) => panic!("cannot wait for {}: {e}", self.name),
        }
    }

    /// Waits for its end and takes what it said.
    ///
    /// # Panics
    /// After `limit`.
    #[must_use]
    pub fn finish(mut self, limit: Duration) -> Finished {
        let status = self.wait(limit);
        let finished =
            Finished { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() };
        if std::thread::panicking() {
            self.show();
        }
        finished
    }

    /// Waits for a line of stdout that means something to `read`.
    ///
    /// # Panics
    /// After `limit`, or when the process ends first.
    pub fn wait_for_line<T>(&mut self, what: &str, limit: Duration, read: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = self.stdout.find(&read) {
                return found;
            }
            let ended = !self.is_running();
            if ended {
                self.stdout.wait_for_end();
                if let Some(found) = self.stdout.find(&read) {
                    return found;
                }
            }
            assert!(!ended, "{} ended before {what}", self.name);
            assert!(Instant::now() < end, "{}: waited {limit:?} for {what}", self.name);
            self.stdout.wait_for_more(Duration::from_millis(100));
        }
    }

    /// Its memory that is in RAM, in bytes, as Linux counts it.
    ///
    /// # Panics
    /// Where the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that it ever had in RAM, in bytes.
    ///
    /// # Panics
    /// Where the process is gone.
    #[must_use]
    pub fn peak_resident_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Forgets the most that it had, so that from now on it counts anew.
    ///
    /// # Panics
    /// Where the process is gone, or the system does not forget.
    pub fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.pid());
        std::fs::write(&path, "5").unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// The CPU time that it has taken, its own and the system's for it, in steps of 10 ms.
    ///
    /// # Panics
    /// Where the process is gone.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        // Behind the name in brackets: user time and system time are the 12th and 13th field, in ticks of 10 ms.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        Duration::from_millis(
            10 * fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>(),
        )
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .map_or_else(|| panic!("no {field} in {path}"), |kib| kib * 1024)
    }

    fn show(&self) {
        eprintln!("{}", words(self.pid(), &self.name, &self.stdout, &self.stderr));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        self.kill();
        living().retain(|(pid, ..)| *pid != self.child.pid());
    }
}

/// Those that live, and what they write: for whoever has to say why nothing goes on.
fn living() -> MutexGuard<'static, Vec<(Pid, String, Lines, Lines)>> {
    static LIVING: Mutex<Vec<(Pid, String, Lines, Lines)>> = Mutex::new(Vec::new());
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all of them said last.
pub(crate) fn all_words() -> String {
    living().iter().map(|(pid, name, stdout, stderr)| words(*pid, name, stdout, stderr)).collect()
}

fn words(pid: Pid, name: &str, stdout: &Lines, stderr: &Lines) -> String {
    format!("=== {name} (pid {pid})\n--- stdout\n{}\n--- stderr\n{}\n===", stdout.tail(), stderr.tail())
}

/// A process that stands still, until this is dropped.
pub struct Frozen(Pid);

impl Frozen {
    /// Lets it go on.
    pub fn thaw(self) {}
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        kill(self.0, Signal::SIGCONT).ok();
    }
}

/// Lines that a process has written so far.
#[derive(Clone)]
pub struct Lines(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let lines = Self(Arc::default());
        let writer = lines.clone();
        std::thread::spawn(move || {
            let mut reader = pipe.map(BufReader::new);
            let mut line = Vec::new();
            while let Some(reader) = &mut reader {
                line.clear();
                if !matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                    break;
                }
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                writer.change(|written| written.lines.push(text));
            }
            writer.change(|written| written.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    fn look<T>(&self, look: impl FnOnce(&Written) -> T) -> T {
        look(&self.0.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first line that means something to `read`.
    pub fn find<T>(&self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.look(|written| written.lines.iter().find_map(|line| read(line)))
    }

    /// All of them.
    #[must_use]
    pub fn text(&self) -> String {
        self.look(|written| written.lines.join("\n"))
    }

    fn tail(&self) -> String {
        self.look(|written| {
            let from = written.lines.len().saturating_sub(SHOWN_LINES);
            written.lines[from..].join("\n")
        })
    }

    fn wait_for_more(&self, limit: Duration) {
        let written = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = written.lines.len();
        // Whether it timed out is of no interest: the caller looks again either way.
        drop(self.0.1.wait_timeout_while(written, limit, |w| w.lines.len() == before && !w.ended));
    }

    fn wait_for_end(&self) {
        let written = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A grandchild that holds the pipe open must not hold the test.
        drop(self.0.1.wait_timeout_while(written, Duration::from_secs(2), |w| !w.ended));
    }
}

/// A child ends with the *thread* that started it, and a test's thread ends before a shared broker may. So one thread that
/// lasts as long as the test process starts them all; when it is gone, however it went, so are they.
fn start_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Whoever asked may be gone; the child then is ended at once.
                answer.send(Child::start(&mut command, Ending::AtOnce)).ok();
            }
        });
        orders
    });
    let (answer, answered) = channel();
    starter.send((command, answer)).map_err(std::io::Error::other)?;
    answered.recv().map_err(std::io::Error::other)?
}
