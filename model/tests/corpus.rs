//! Files that fuzzing found, and those that it began with: each reader takes or refuses each of them, soon, with no panic and no more
//! memory than the file can ask for. `make fuzz` looks for more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]

#[path = "../core/tests/counting/mod.rs"]
mod counting;
#[path = "../../fuzz/libtorch_readers.rs"]
mod libtorch_readers;
#[path = "../../fuzz/readers.rs"]
mod readers;

use std::fs;
use std::path::Path;

use counting::{Counting, most_held};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a file of that length may make a reader hold. An object of YAML or JSON is a hundred times its text, and a
/// message with a piece of the file in it is written more than once.
fn allowed(length: usize) -> u64 {
    // The YAML reader has its buffers from the beginning.
    (128 << 10) + 200 * length as u64
}

/// Gives the reader every file of that name's folder, at its whole length and cut off.
fn each_file(name: &str, more: u64, read: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        files += 1;
        for part in [&bytes[..], &bytes[..bytes.len() / 2], &bytes[..bytes.len().saturating_sub(1)]] {
            let ((), held) = most_held(|| read(part));
            assert!(
                held <= allowed(part.len()) + more,
                "{}: {held} bytes for {}",
                path.display(),
                part.len()
            );
        }
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn manifests() {
    each_file("manifest", 0, readers::manifest);
}

#[test]
fn onnx() {
    each_file("onnx", 0, readers::onnx);
}

#[test]
fn what_others_say_of_a_net() {
    each_file("preprocessor", 0, readers::preprocessor);
    each_file("config", 0, readers::config);
    each_file("preset", 0, readers::preset);
}

#[test]
fn safetensors() {
    // The reader is given two megabytes of values with each.
    each_file("safetensors", 4 << 20, libtorch_readers::safetensors);
}

#[test]
fn torchscript() {
    each_file("torchscript", 0, libtorch_readers::torchscript);
}
