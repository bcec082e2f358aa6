//! What a process holds after hostile and large files: no more than before. One test in a file of its own, since it measures its
//! process.
#![allow(unsafe_code, clippy::unwrap_used, missing_docs, reason = "a test may panic; mallopt is C")]
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod bombs;
mod photographs;

use std::fs;
use std::path::Path;

use model_core::{ImageLimits, LargePiecesMapped};
use photographs::{Photograph, colour, grey};

#[global_allocator]
static ALLOCATOR: LargePiecesMapped = LargePiecesMapped;

const THREADS: usize = 4;

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// As the programs have it: C's allocator keeps every page that it ever had.
fn keep_pages() {
    for (option, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1), (libc::M_ARENA_MAX, 1)] {
        // SAFETY: two integers by value.
        assert_eq!(unsafe { libc::mallopt(option, value) }, 1);
    }
}

#[test]
fn nothing_stays_behind_after_any_file() {
    keep_pages();
    let of = |width, height| Photograph { width, height, orientation: 6, ..Photograph::default() };
    let mut files = bombs::refused();
    files.extend(bombs::sound());
    files.push((
        "a progressive JPEG, 12 megapixels",
        Photograph { progressive: true, ..of(4000, 3000) }.file(),
    ));
    files.push(("a JPEG, 24 megapixels", of(6000, 4000).file()));
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")).unwrap() {
        files.push(("a fixture", fs::read(entry.unwrap().path()).unwrap()));
    }
    let nets = [colour(224), grey(28)];
    let before = resident();
    let mut most = 0;
    for (name, file) in &files {
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads
                    .spawn(|| nets.each_ref().map(|net| net.decode(file, &ImageLimits::default()).is_ok()));
            }
        });
        let more = resident().saturating_sub(before);
        most = most.max(more);
        assert!(more < 70_000_000, "{more} bytes more after {name}");
    }
    println!("{most} bytes more after {} files on {THREADS} threads", files.len());
}
