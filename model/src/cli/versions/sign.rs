//! Whose version it is.

use std::path::PathBuf;

use clap::Args;
use registry::{Select, SigningKey};
use serde::Serialize;

use super::super::output::{json, line};
use super::Place;

#[derive(Debug, Args)]
pub(in crate::cli) struct Sign {
    /// The model's name.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The version: its number, an alias, or `latest`.
    #[arg(value_name = "VERSION")]
    version: Select,
    /// The private key: PEM, as `openssl genpkey -algorithm ed25519` writes it.
    #[arg(long, env = "MLAAS_KEY", value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Signed<'a> {
    model: &'a str,
    version: u32,
    signature: String,
}

impl Sign {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // Before anything is looked for: a key that is none is a slip of the hand.
        let key = SigningKey::read(&self.key)?;
        let registry = self.place.any_registry()?;
        let version = registry.resolve(&self.model, &self.version)?;
        let signature = registry.sign(&self.model, version, &key)?.display().to_string();
        if self.place.json {
            return json(&Signed { model: &self.model, version, signature });
        }
        line(&format!("{} version {version} is signed: {signature}", self.model))
    }
}
