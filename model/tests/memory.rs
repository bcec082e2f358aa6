//! What a process that serves both models holds in memory. One test in a file of its own, since it measures its process.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
#![cfg(target_os = "linux")]

mod common;

use common::{pixels, shipped};
use model::{Device, Pixels, Predictor};

const MIB: u64 = 1 << 20;

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |kind: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    println!("own pages {} MiB, pages of files {} MiB", of("RssAnon:") / MIB, of("RssFile:") / MIB);
    of("VmRSS:")
}

/// Both models on a thread of their own, as a worker's instance has them: warmed up, then `rounds` batches of 32.
fn serve(rounds: usize) {
    let serve = move || {
        let birds = Predictor::load(&shipped("bird"), Device::Cpu).unwrap();
        let clothes = Predictor::load(&shipped("fashion-mnist"), Device::Cpu).unwrap();
        birds.warm_up(32).unwrap();
        clothes.warm_up(32).unwrap();
        let (large, small) = (pixels(32, 224, 3), pixels(32, 28, 1));
        let (large, small): (Vec<&Pixels>, Vec<&Pixels>) = (large.iter().collect(), small.iter().collect());
        for _ in 0..rounds {
            assert_eq!(birds.predict(&large).unwrap().len(), 32);
            assert_eq!(clothes.predict(&small).unwrap().len(), 32);
        }
        (birds, clothes)
    };
    let instances: Vec<_> = (0..2).map(|_| std::thread::spawn(serve)).collect();
    let models: Vec<_> = instances.into_iter().map(|instance| instance.join().unwrap()).collect();
    // Measured while all of them are there.
    println!("resident with {} instances after {rounds} rounds: {} MiB", models.len(), resident() / MIB);
}

#[test]
fn two_instances_of_both_models_hold_less_than_400_mb_and_stay_there() {
    model::configure_process();
    println!("resident at first: {} MiB", resident() / MIB);
    serve(1);
    let warm = resident();
    serve(4);
    let later = resident();
    assert!(later < 400_000_000, "{} MiB", later / MIB);
    // The second pair of instances found the first pair's pages.
    assert!(later < warm + 40 * MIB, "it grew from {} to {} MiB", warm / MIB, later / MIB);
}
