//! What ran where: one line for each passed test, `<broker>\t<test>`, in `e2e-brokers.txt` of the target folder.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::paths;

/// A line that other tests' lines, written at the same time, do not mix with.
pub(crate) fn line(broker: &str, test: &str) {
    let path = paths::target_dir().join("e2e-brokers.txt");
    let line = format!("{broker}\t{test}\n");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(e) = written {
        eprintln!("{}: {e}", path.display());
    }
}
