//! Which broker to use: the one that is named, else the embedded one whose address a worker of this user has left in the
//! runtime folder.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::getuid;
use serde::{Deserialize, Serialize};

/// A broker, and what kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `host:port`, several with commas.
    pub bootstrap_servers: String,
    /// The one inside a worker, which forgets silently past 5 MiB a partition.
    pub embedded: bool,
}

impl Broker {
    /// The one that is named, taken for a real Kafka; none where the name is empty.
    #[must_use]
    pub fn named(bootstrap_servers: Option<&str>) -> Option<Self> {
        bootstrap_servers.map(str::trim).filter(|servers| !servers.is_empty()).map(Self::kafka)
    }

    /// A real Kafka at that address.
    #[must_use]
    pub fn kafka(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), embedded: false }
    }

    /// The embedded broker at that address.
    #[must_use]
    pub fn embedded(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), embedded: true }
    }
}

/// Why the embedded broker's address can't be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The folder or the file can't be read or made.
    #[error(
        "the runtime folder {path} can't be used: {source}; set MLAAS_RUNTIME_DIR to a folder of your own"
    )]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could leave an address there.
    #[error(
        "the runtime folder {path} belongs to another user (id {owner}): remove it, or set MLAAS_RUNTIME_DIR to a folder of your own"
    )]
    NotOwn {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others could leave an address there.
    #[error(
        "others may write to the runtime folder {path} (mode {mode:o}): run chmod 700 on it, or set MLAAS_RUNTIME_DIR to another folder of your own"
    )]
    NotPrivate {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// The folder that holds the embedded broker's address, readable by its user only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDir(PathBuf);

/// What the address file says. The process id is for people to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) bootstrap_servers: String,
    pub(crate) pid: i32,
}

impl RuntimeDir {
    /// That folder.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// `MLAAS_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/mlaas`, else `mlaas-<uid>` in the folder for temporary files.
    #[must_use]
    pub fn from_env() -> Self {
        let named = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self(
            named("MLAAS_RUNTIME_DIR")
                .or_else(|| named("XDG_RUNTIME_DIR").map(|dir| dir.join("mlaas")))
                .unwrap_or_else(|| std::env::temp_dir().join(format!("mlaas-{}", getuid()))),
        )
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The address file, whether it exists or not.
    #[must_use]
    pub fn address_file(&self) -> PathBuf {
        self.0.join("embedded.json")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.0.join("embedded.lock")
    }

    /// Makes the folder, mode 0700, where it is not there.
    pub(crate) fn create(&self) -> Result<(), LocateError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(|e| self.error(e))?;
        self.check().map(|_| ())
    }

    /// The address in the file, if the process that wrote it still lives: it holds a lock on the file, and the system
    /// takes that from it however it ends. To knock at the port instead would take a busy broker for a dead one, and
    /// another program on the port for a broker.
    ///
    /// # Errors
    /// [`LocateError`] where the folder is not this user's own or can't be read. No folder and no file are no error.
    pub fn embedded_broker(&self) -> Result<Option<Broker>, LocateError> {
        if !self.check()? {
            return Ok(None);
        }
        let mut file = match File::open(self.address_file()) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.error(e)),
        };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(self.error(e)),
            Ok(()) => {
                tracing::debug!(file = %self.address_file().display(), "ignored: that embedded broker is gone");
                return Ok(None);
            }
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|e| self.error(e))?;
        let address: Address = serde_json::from_slice(&text).map_err(|e| self.error(e.into()))?;
        Ok(Some(Broker::embedded(address.bootstrap_servers)))
    }

    /// Whether the folder is there; an error where its file could be someone else's.
    fn check(&self) -> Result<bool, LocateError> {
        match fs::metadata(&self.0) {
            Ok(meta) if meta.uid() != getuid().as_raw() => {
                Err(LocateError::NotOwn { path: self.0.clone(), owner: meta.uid() })
            }
            Ok(meta) if meta.mode() & 0o022 != 0 => {
                Err(LocateError::NotPrivate { path: self.0.clone(), mode: meta.mode() & 0o777 })
            }
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.error(e)),
        }
    }

    pub(crate) fn error(&self, source: io::Error) -> LocateError {
        LocateError::Io { path: self.0.clone(), source }
    }
}

/// The broker that is named, else the embedded one of this user, else none. A named one may turn out to be an embedded
/// one too: [`crate::probe`] tells.
///
/// # Errors
/// [`LocateError`] where the runtime folder is not this user's own or can't be read.
pub fn locate(explicit: Option<&str>) -> Result<Option<Broker>, LocateError> {
    match Broker::named(explicit) {
        Some(broker) => Ok(Some(broker)),
        None => RuntimeDir::from_env().embedded_broker(),
    }
}
