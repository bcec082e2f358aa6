//! Signals at any moment of a worker's start, from the first instant of its executable on.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use e2e::PATIENCE;
use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use nix::sys::signal::Signal;

use crate::FASHION_ONLY;

/// How many workers are started for each signal, and at how many parts of the time until one is ready it comes: some are
/// serving already.
const STARTS: u32 = 120;
const READY: u32 = 100;

/// How the worker ended, where that is as it says; else what is wrong.
fn end(worker: &mut Process, signal: Signal) -> Result<String, String> {
    let status = worker.wait(PATIENCE);
    let (log, out) = (worker.stderr.text(), worker.stdout.text());
    let ended = format!("{status}");
    let works = log.contains("health and metrics");
    let is_right = match (status.code(), status.signal()) {
        // It took nothing, or has answered what it took.
        (Some(0), None) => true,
        // Before it has read its configuration there is nothing to ask of it.
        (Some(code), None) => code == 128 + signal as i32 && !works,
        // Before its first line it does not hear yet, and the system ends it.
        (None, Some(by)) => by == signal as i32 && log.is_empty() && out.is_empty(),
        _ => false,
    };
    if is_right && !log.contains("panicked") { Ok(ended) } else { Err(format!("{ended}\n{out}\n{log}")) }
}

fn at_any_moment(signal: Signal) {
    e2e::current_test::limit(Duration::from_secs(1200));
    let scene = Scene::on(Kind::Kafka);
    let start = Instant::now();
    drop(scene.worker("measured", FASHION_ONLY));
    let ready = start.elapsed();
    let mut ends = BTreeMap::<_, u32>::new();
    for i in 0..STARTS {
        let moment = ready * i / READY;
        let mut worker = Process::spawn("worker told", scene.worker_command("told", FASHION_ONLY));
        // The moment is what this is about.
        std::thread::sleep(moment);
        worker.signal(signal);
        match end(&mut worker, signal) {
            Ok(ended) => *ends.entry(ended).or_default() += 1,
            Err(wrong) => panic!("{signal} after {moment:?} of {ready:?}: {wrong}"),
        }
    }
    println!("{signal}: ready after {ready:?}; {ends:?}");
    assert!(ends.keys().any(|ended| ended.contains("exit status: 0")), "{ends:?}");
}

#[test]
#[ignore = "starts a hundred workers: make test-more"]
fn sigterm_at_any_moment_ends_a_worker_as_it_says() {
    at_any_moment(Signal::SIGTERM);
}

#[test]
#[ignore = "starts a hundred workers: make test-more"]
fn sigint_at_any_moment_ends_a_worker_as_it_says() {
    at_any_moment(Signal::SIGINT);
}
