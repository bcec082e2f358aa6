//! A time limit for each test executable. `make test` has cargo start every one of them through `xtask watch`, which passes
//! its output on, ends one that runs too long, and says which tests it was at.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use crate::{process, progress::seconds, workspace::Workspace};

/// The variable that sets another limit, in seconds.
const LIMIT: &str = "MLAAS_TEST_LIMIT";
/// The variable that tells Rust's test harness how many tests run at once. The end-to-end tests wait for brokers and sessions more
/// than they compute: two for each core, where nothing else is asked for.
const THREADS: &str = "RUST_TEST_THREADS";
/// The end-to-end tests, all in one executable. Each has a limit of its own besides.
const END_TO_END: Duration = Duration::from_secs(20 * 60);
/// Every other executable; the longest needs a tenth of it on two cores.
const OTHER: Duration = Duration::from_secs(8 * 60);
/// How much of a thread's name Linux keeps.
const THREAD_NAME: usize = 15;

/// What has cargo call this program for each test executable. Where cargo puts it: the file that runs now may have been
/// replaced by a build of the whole workspace meanwhile.
pub(crate) fn cargo_option(workspace: &Workspace) -> Result<String> {
    let own = workspace.target().join("debug/xtask");
    let own = own.to_str().context("the path of this checkout is not UTF-8")?;
    Ok(format!("target.'cfg(unix)'.runner=[{own:?}, 'watch']"))
}

/// Runs a test executable with its arguments, to its end or its limit.
pub(crate) fn run(line: &[OsString]) -> Result<ExitCode> {
    let (executable, arguments) = line.split_first().context("which executable?")?;
    let executable = Path::new(executable);
    let name = executable.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // Without cargo's hash.
    let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
    let limit = limit(name, std::env::var(LIMIT).ok().as_deref())?;
    let mut tests = Tests::default();
    // Not for what rustdoc makes of an example: that knows no arguments and would simply run.
    if executable.parent().is_some_and(|folder| folder.ends_with("deps")) {
        let list =
            process::output(Command::new(executable).args(arguments).args(["--list", "--format=terse"]))?;
        tests.open = list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    }

    let mut command = Command::new(executable);
    command.args(arguments).stdout(Stdio::piped());
    if name == "e2e" && std::env::var_os(THREADS).is_none() {
        command.env(THREADS, (std::thread::available_parallelism()?.get() * 2).to_string());
    }
    let mut running = process::start(&mut command)?;
    let stdout = running.stdout().context("no pipe to the tests")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let _too_late = sender.send(line);
        }
    });
    let end = Instant::now() + limit;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(mut line) => {
                tests.read(&String::from_utf8_lossy(&line));
                line.push(b'\n');
                // Whoever reads may have gone; the tests go on.
                let _closed = std::io::stdout().write_all(&line);
            }
            Err(RecvTimeoutError::Timeout) => {
                let at = tests.running(&thread_names(running.pid()));
                drop(running);
                bail!("{name} ran longer than {} and was ended; it was at: {at}", seconds(limit));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // All has been said, and what hangs at its very end must not hang this.
    let Some(status) = running.wait_until(end)? else {
        bail!("{name} said all that it had to say and did not end within {}", seconds(limit));
    };
    process::check_interrupt()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(code) => Ok(ExitCode::from(code)),
        None => bail!("{name} was ended ({status}); it was at: {}", tests.running(&BTreeSet::new())),
    }
}

fn limit(name: &str, variable: Option<&str>) -> Result<Duration> {
    match variable.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => match text.parse() {
            Ok(whole @ 1..) => Ok(Duration::from_secs(whole)),
            _ => bail!("{LIMIT}={text} is no number of seconds"),
        },
        None if name == "e2e" => Ok(END_TO_END),
        None => Ok(OTHER),
    }
}

/// What a process's threads are called, as far as Linux keeps names.
fn thread_names(pid: Pid) -> BTreeSet<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).ok();
    threads.into_iter().flatten().flatten().filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

/// The tests of an executable, as its output tells.
#[derive(Default)]
struct Tests {
    /// Not finished.
    open: BTreeSet<String>,
    /// Said to take long.
    long: BTreeSet<String>,
}

impl Tests {
    fn read(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test ") else { return };
        if let Some(name) = rest.strip_suffix(" has been running for over 60 seconds") {
            self.long.insert(name.to_owned());
        } else if let Some((name, _)) = rest.split_once(" ... ") {
            let name = name.trim_end_matches(" - should panic");
            self.open.remove(name);
            self.long.remove(name);
        }
    }

    /// Those under way: said to take long, or with a thread of that name.
    fn running(&self, threads: &BTreeSet<String>) -> String {
        let short = |name: &str| name.chars().take(THREAD_NAME).collect::<String>();
        let at = self.open.iter().filter(|name| threads.contains(&short(name))).chain(&self.long);
        let at: BTreeSet<_> = at.cloned().collect();
        let named = if at.is_empty() { &self.open } else { &at };
        if named.is_empty() {
            return "no test".to_owned();
        }
        named.iter().cloned().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An executable of tests of which one hangs, in a folder such as cargo's.
    fn hanging(folder: &Path) -> OsString {
        let folder = folder.join("deps");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("some-0123");
        let script = "#!/bin/sh
case \"$*\" in *--list*) printf 'a::quick: test\\na::slow: test\\nb: benchmark\\n'; exit;; esac
echo 'test a::quick ... ok'
exec sleep 300
";
        process::write_script(&path, script);
        path.into_os_string()
    }

    #[test]
    fn what_hangs_is_ended_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let executable = hanging(folder.path());
        let own = std::env::current_exe().unwrap();
        // Apart, since the limit is a variable of the process.
        let mut apart = Command::new(own);
        apart.args(["--exact", "watch::tests::apart", "--ignored", "--nocapture"]);
        apart.env(LIMIT, "1").env("MLAAS_WATCHED", executable);
        let text = process::output(&mut apart).unwrap();
        assert!(text.contains("test a::quick ... ok"), "what is said is passed on: {text}");
        assert!(text.contains("some ran longer than 1 s and was ended; it was at: a::slow"), "{text}");
    }

    /// Not a test: it runs the one above's executable.
    #[test]
    #[ignore = "started by another test"]
    fn apart() {
        let executable = std::env::var_os("MLAAS_WATCHED").expect("only another test starts this one");
        println!("{:#}", run(&[executable]).unwrap_err());
    }

    #[test]
    fn what_runs_is_known_by_threads_and_words() {
        let open = ["a::one", "a_long_module::two", "a_long_module::three", "four"].map(str::to_owned);
        let mut tests = Tests { open: open.into(), ..Tests::default() };
        tests.read("test four has been running for over 60 seconds");
        tests.read("test a_long_module::three ... ok");
        tests.read("a line of somebody else's ... ok");
        let threads = BTreeSet::from(["a_long_module::".to_owned()]);
        assert_eq!(tests.running(&threads), "a_long_module::two, four");
        tests.read("test four ... FAILED");
        assert_eq!(tests.running(&BTreeSet::new()), "a::one, a_long_module::two");
    }

    #[test]
    fn the_limit_can_be_set() {
        assert_eq!(limit("e2e", None).unwrap(), END_TO_END);
        assert_eq!(limit("wire", Some(" ")).unwrap(), OTHER);
        assert_eq!(limit("wire", Some("7")).unwrap(), Duration::from_secs(7));
        assert!(limit("wire", Some("0")).is_err() && limit("wire", Some("x")).is_err());
    }
}
