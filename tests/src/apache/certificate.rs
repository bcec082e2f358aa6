//! A key and a certificate for `127.0.0.1`, made for one cluster by the program `openssl`: it takes 20 ms, where the JDK's
//! keytool takes two JVMs and a Rust library would be one more thing to compile. It is on every system that has OpenSSL's
//! headers' package at hand, and `make setup` sees to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;

/// The broker's key and certificate.
pub(super) const KEYS: &str = "broker.pem";

/// What a client must trust.
pub(super) fn trusted(folder: &Path) -> PathBuf {
    folder.join("ca.pem")
}

/// Puts both into that folder.
pub(super) fn make(folder: &Path) -> Result<(), String> {
    let mut openssl = Command::new("openssl");
    openssl
        .current_dir(folder)
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-days", "2", "-subj", "/CN=e2e", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .args(["-keyout", "key.pem", "-out", "ca.pem"]);
    let done = Process::run("openssl", openssl, Duration::from_secs(30));
    if done.code != Some(0) {
        return Err(format!("openssl made no certificate: {}", done.stderr));
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|e| e.to_string());
    let both = format!("{}{}", read("key.pem")?, read("ca.pem")?);
    std::fs::write(folder.join(KEYS), both).map_err(|e| e.to_string())
}
