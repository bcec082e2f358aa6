//! The test that a thread runs: how long it may take, and which broker it ran on. Whatever the harness is asked for calls
//! `note`; from then on until its thread ends the test is watched.
//!
//! A test that outlives its limit ends the whole test process, with the names of the tests that run and the words of every
//! process that lives: what hangs is said, and nothing hangs for ever.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// How long a test may take, far longer than any needs on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(500);

struct Running {
    test: String,
    since: Instant,
    limit: Duration,
}

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lives as long as the test's thread.
struct Test {
    name: String,
    brokers: Vec<String>,
    failed: bool,
}

impl Drop for Test {
    fn drop(&mut self) {
        running().retain(|other| other.test != self.name);
        if !self.failed {
            for broker in &self.brokers {
                crate::report::line(broker, &self.name);
            }
        }
    }
}

thread_local! {
    static TEST: RefCell<Option<Test>> = const { RefCell::new(None) };
}

/// Watches the test that this thread runs, if it is one and is not watched yet.
pub(crate) fn note() {
    static WATCHDOG: Once = Once::new();
    WATCHDOG.call_once(|| {
        // A failed test did not pass on any broker; its panic is the first that is known of it.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            change(|test| test.failed = true);
            before(info);
        }));
        std::thread::spawn(watch);
    });
    let thread = std::thread::current();
    // libtest names a thread for its test. Threads that tests start have no names or those of their libraries.
    let Some(name) = thread.name().filter(|name| name.contains("::")) else { return };
    TEST.with_borrow_mut(|test| {
        test.get_or_insert_with(|| {
            running().push(Running { test: name.to_owned(), since: Instant::now(), limit: LIMIT });
            Test { name: name.to_owned(), brokers: Vec::new(), failed: false }
        });
    });
}

/// Gives this test more time, or less, than others have.
pub fn limit(limit: Duration) {
    note();
    let thread = std::thread::current();
    if let Some(found) = running().iter_mut().find(|of| Some(&*of.test) == thread.name()) {
        found.limit = limit;
    }
}

/// This test ran on that broker: a line in the report once it has passed.
pub(crate) fn ran_on(broker: &str) {
    note();
    change(|test| {
        if !test.brokers.iter().any(|other| other == broker) {
            test.brokers.push(broker.to_owned());
        }
    });
}

fn change(change: impl FnOnce(&mut Test)) {
    // Neither a thread that ends nor one that is at it already is any longer a test's.
    TEST.try_with(|test| {
        if let Ok(mut test) = test.try_borrow_mut()
            && let Some(test) = &mut *test
        {
            change(test);
        }
    })
    .ok();
}

fn watch() {
    loop {
        std::thread::sleep(LOOK);
        if let Some(late) = running().iter().find(|of| of.since.elapsed() > of.limit) {
            // Not by `eprintln!`: what it writes may be kept for the test that first came by here.
            writeln!(std::io::stderr(), "{}", words(late)).ok();
        } else {
            continue;
        }
        std::process::abort();
    }
}

fn words(late: &Running) -> String {
    format!(
        "\n=== {} ran longer than {} s; all tests are ended. What its processes and those of the others said:\n{}",
        late.test,
        late.limit.as_secs(),
        crate::process::all_words()
    )
}
