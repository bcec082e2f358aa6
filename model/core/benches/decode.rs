//! How long an image file takes to become a net's input, against the whole picture decoded as the crate `image` does it; and how
//! long a refusal takes. Prints ratios from one run and whether each promise was kept; exit code 1 where not.
//!
//! CPU time of the process, the median of all rounds, and the arms take turns, so the ratios hold on a busy machine too.

#[path = "../tests/bombs/mod.rs"]
mod bombs;
#[path = "../tests/photographs/mod.rs"]
mod photographs;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use model_core::{ImageLimits, LargePiecesMapped};
use photographs::{Photograph, colour};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: LargePiecesMapped = LargePiecesMapped;

const ROUNDS: usize = 9;
const REFUSAL: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let mut kept = true;
    let mut promise = |what: &str, holds: bool| {
        kept &= holds;
        println!("{}: {what}", if holds { "kept" } else { "BROKEN" });
    };
    let net = colour(224);
    let limits = ImageLimits::default();
    for (name, width, height) in [
        ("500 x 375", 500, 375),
        ("12 megapixels", 4000, 3000),
        ("24 megapixels", 6000, 4000),
        ("100 megapixels", 11_600, 8_700),
    ] {
        let file = Photograph { width, height, noise: 24, ..Photograph::default() }.file();
        let round = |_| {
            let ours = cpu_time_of(&|| drop(black_box(net.decode(&file, &limits))));
            (ours, cpu_time_of(&|| drop(black_box(image::load_from_memory(&file)))))
        };
        let (ours, whole): (Vec<_>, Vec<_>) = (0..ROUNDS).map(round).unzip();
        let (ours, whole) = (median(ours), median(whole));
        let ratio = whole.as_secs_f64() / ours.as_secs_f64();
        println!(
            "{name}, {} kB: {ours:.1?} to the net's input, {whole:.1?} decoded whole by image: {ratio:.2}",
            file.len() / 1000
        );
        promise(&format!("{name} is decoded at all"), net.decode(&file, &limits).is_ok());
    }
    let large = bombs::sound().into_iter().filter(|(_, file)| net.decode(file, &limits).is_err());
    for (name, file) in bombs::refused().into_iter().chain(large) {
        let took = median(
            (0..ROUNDS).map(|_| cpu_time_of(&|| drop(black_box(net.decode(&file, &limits))))).collect(),
        );
        promise(
            &format!("{name} ({} kB) is refused in {took:.1?}, under {REFUSAL:?}", file.len() / 1000),
            took < REFUSAL,
        );
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn cpu_time_of(work: &dyn Fn()) -> Duration {
    let start = cpu_time();
    work();
    cpu_time() - start
}

/// What this process has computed so far.
#[allow(unsafe_code, reason = "the clock is C's")]
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on Linux, and the pointer is to a timespec that outlives the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "this system has no CPU clock of a process");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
