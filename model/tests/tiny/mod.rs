//! A data set small enough to train on in a test: ten classes of 28 x 28 images, each a bright bar at its own height in noise.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::process::{Command, Output};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub(crate) const SIDE: usize = 28;

/// One image of a class.
pub(crate) fn image(class: u8, rng: &mut StdRng) -> Vec<u8> {
    let mut pixels = vec![0; SIDE * SIDE];
    let top = 2 + usize::from(class) * 5 / 2;
    for (at, value) in pixels.iter_mut().enumerate() {
        let (row, column) = (at / SIDE, at % SIDE);
        let inside = (4..24).contains(&column);
        *value = match inside {
            true if (top..top + 3).contains(&row) => 180 + rng.random_range(0..70),
            true => rng.random_range(0..60),
            false => 0,
        };
    }
    pixels
}

/// Writes the four idx files.
pub(crate) fn write_data(folder: &Path, train: usize, test: usize) {
    std::fs::create_dir_all(folder).unwrap();
    for (prefix, count, seed) in [("train", train, 1), ("t10k", test, 2)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        let pixels: Vec<u8> = labels.iter().flat_map(|class| image(*class, &mut rng)).collect();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let side = SIDE as u32;
        let images = [words(&[0x803, count as u32, side, side]), pixels].concat();
        std::fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        let labels = [words(&[0x801, count as u32]), labels].concat();
        std::fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// A training configuration for that data.
pub(crate) fn config(epochs: usize, seed: u64) -> String {
    format!(
        "model: tiny\nlicense: MIT\norigin: made up\nseed: {seed}\nepochs: {epochs}\nbatch_size: 20\nvalidation_images: 40\n\
         horizontal_flip: true\naverage_decay: 0.9\n"
    )
}

/// The program, in `folder`, with none of the environment's settings.
pub(crate) fn model(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model"));
    command.env_clear().current_dir(folder).args(arguments).output().unwrap()
}

/// As [`model`], and its stdout as one JSON object a line, if it succeeds.
pub(crate) fn lines(folder: &Path, arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = model(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    objects(&output)
}

pub(crate) fn objects(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
