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

/// `instances` of both models, each on a thread of its own, as a worker has them: warmed up, then `rounds` batches of 32.
fn serve(models: [&Predictor; 2], instances: usize, rounds: usize) {
    let serve = move |[birds, clothes]: [Predictor; 2]| {
        birds.warm_up(32).unwrap();
        clothes.warm_up(32).unwrap();
        let (large, small) = (pixels(32, 224, 3), pixels(32, 28, 1));
        let (large, small): (Vec<&Pixels>, Vec<&Pixels>) = (large.iter().collect(), small.iter().collect());
        for _ in 0..rounds {
            assert_eq!(birds.predict(&large).unwrap().len(), 32);
            assert_eq!(clothes.predict(&small).unwrap().len(), 32);
        }
        [birds, clothes]
    };
    let threads: Vec<_> = (0..instances)
        .map(|_| {
            let own = models.map(Predictor::share);
            std::thread::spawn(move || serve(own))
        })
        .collect();
    let instances: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    // Measured while all of them are there.
    println!("resident with {} instances after {rounds} rounds: {} MiB", instances.len(), resident() / MIB);
}

#[test]
fn instances_of_both_models_hold_less_than_400_mb_and_stay_there() {
    model::configure_process();
    println!("resident at first: {} MiB", resident() / MIB);
    let birds = Predictor::load(&shipped("bird"), Device::Cpu).unwrap();
    let clothes = Predictor::load(&shipped("fashion-mnist"), Device::Cpu).unwrap();
    let serve = |instances, rounds| {
        serve([&birds, &clothes], instances, rounds);
        resident()
    };
    // Which images of the two nets are under way at once is luck: three pairs of instances have met most of it.
    let warm = [serve(2, 2), serve(2, 2), serve(2, 2)][2];
    let later = serve(2, 4);
    assert!(later < 400_000_000, "{} MiB", later / MIB);
    // The last pair of instances found the others' pages.
    assert!(later < warm + 40 * MIB, "it grew from {} to {} MiB", warm / MIB, later / MIB);

    // A net's weights are 18 MiB. What twenty at rest add is not weights.
    let shared: Vec<_> = (0..20).map(|_| birds.share()).collect();
    let many = resident();
    assert!(many < later + 20 * MIB, "{} more took {} MiB", shared.len(), (many - later) / MIB);
}
