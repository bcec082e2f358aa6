//! An object store that speaks as Azure's does, Azurite, with a container in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apache::free_ports;
use crate::process::Process;
use crate::{PATIENCE, paths, wait_until};

const CONTAINER: &str = "models";
/// Who asks.
const ACCOUNT: &str = "somebody";

/// One of a test's own.
pub struct Azure {
    port: u16,
    /// The account's, in base64: another one for each test.
    key: String,
    _process: Process,
}

impl Azure {
    /// Where nothing is.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start(scratch: &Path) -> Self {
        let program = azurite("dist/src/blob/main.js");
        let folder = scratch.join("azurite");
        fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let port = free_ports(1)[0];
        // 32 digits, which are base64 too.
        let key = uuid::Uuid::new_v4().simple().to_string();
        let mut command = Command::new("node");
        command
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}"))
            .arg(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--silent"])
            .args(["--skipApiVersionCheck", "--disableTelemetry", "--location"])
            .arg(&folder);
        let process = Process::spawn("azurite", command);
        let script = paths::root().join("tests/src/azure_container.js");
        wait_until("the object store has a container", PATIENCE, || {
            let mut make = Command::new("node");
            make.arg(&script).arg(port.to_string()).args([CONTAINER, ACCOUNT, &key]);
            let made = Process::run("azure_container.js", make, PATIENCE);
            if made.code == Some(0) { Ok(()) } else { Err(format!("{made:?}")) }
        });
        Self { port, key, _process: process }
    }

    /// Where model versions are there.
    #[must_use]
    pub fn url(&self) -> String {
        format!("az://{CONTAINER}/some/weights")
    }

    /// Tells a program of ours where the store is and who asks, and where to keep copies.
    pub fn tell(&self, command: &mut Command, cache: &Path) {
        command
            .env("AZURE_STORAGE_USE_EMULATOR", "true")
            .env("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            .env("AZURE_STORAGE_ACCOUNT_KEY", &self.key)
            .env("AZURITE_BLOB_STORAGE_URL", format!("http://127.0.0.1:{}", self.port))
            .env("MLAAS_CACHE", cache);
    }
}

fn azurite(file: &str) -> PathBuf {
    let path = paths::root().join(".deps/azurite/node_modules/azurite").join(file);
    assert!(
        path.is_file(),
        "{} is missing: run `make test-more` or `cargo xtask setup --for more` first",
        path.display()
    );
    path
}
