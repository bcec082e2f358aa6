//! A version's folder: its manifest, which of its artifacts are there, and their bytes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::content::{Content, read_small, sha256};
use crate::digest::FileEntry;
use crate::error::RegistryError;
use crate::manifest::{Artifact, EngineKind, MANIFEST_FILE, Manifest};
use crate::signature::{PublicKeys, SIGNATURE_FILE};

/// The largest manifest that is read, in bytes: room for some hundred thousand labels.
pub(crate) const MANIFEST_LIMIT: u64 = 16 << 20;

/// A version whose manifest has been read.
#[derive(Clone, Debug)]
pub struct ModelVersion {
    /// What the version says about itself.
    pub manifest: Manifest,
    /// The version's identity, the SHA-256 of its manifest as it lies in the folder: `sha256:<64 hexadecimal digits>`.
    pub digest: String,
    folder: PathBuf,
}

impl ModelVersion {
    /// The version in that folder, signed by one of the keys that are `trusted`, where there are some.
    ///
    /// # Errors
    /// If its manifest is wrong, or not signed as it should be, none of its files is there, one is of another size, or there is one too many.
    pub(crate) fn open(folder: &Path, trusted: Option<&PublicKeys>) -> Result<Self, RegistryError> {
        let path = folder.join(MANIFEST_FILE);
        let missing = || RegistryError::MissingFile { path: path.clone() };
        let bytes = read_small(&path, MANIFEST_LIMIT)?.ok_or_else(missing)?;
        // Before anything of it is believed.
        trusted.map_or(Ok(()), |keys| keys.check(folder, &bytes))?;
        let digest = format!("sha256:{}", sha256(&bytes));
        let text = String::from_utf8(bytes)
            .map_err(|error| RegistryError::BadManifest { path: path.clone(), source: error.into() })?;
        let version =
            Self { manifest: Manifest::from_yaml(&text, &path)?, digest, folder: folder.to_owned() };
        version.check_folder()?;
        if let Some(first) = version.manifest.artifacts.first()
            && version.artifacts().next().is_none()
        {
            return Err(version.not_fetched(first));
        }
        Ok(version)
    }

    /// The artifacts whose files are there, in the manifest's order.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.manifest.artifacts.iter().filter(|artifact| self.path(artifact).is_file())
    }

    /// Where an artifact's file lies, or would.
    #[must_use]
    pub fn path(&self, artifact: &Artifact) -> PathBuf {
        self.folder.join(&artifact.file)
    }

    /// What the artifact for `engine` holds: read once, and these very bytes held to the manifest. None where the manifest lists
    /// no such artifact.
    ///
    /// # Errors
    /// If the file is not fetched, truncated or tampered with.
    pub fn read(&self, engine: EngineKind) -> Result<Option<(&Artifact, Content)>, RegistryError> {
        let Some(artifact) = self.manifest.artifact(engine) else { return Ok(None) };
        let path = self.path(artifact);
        let Some(entry) = self.manifest.files.get(&artifact.file) else {
            return Err(RegistryError::MissingFile { path });
        };
        match Content::checked(&path, entry) {
            Ok(content) => Ok(Some((artifact, content))),
            Err(RegistryError::MissingFile { .. }) => Err(self.not_fetched(artifact)),
            Err(error) => Err(error),
        }
    }

    /// Puts a file that was made for an artifact into the folder, whole or not at all. One that is there already stays.
    ///
    /// # Errors
    /// If the bytes are not the manifest's, or writing fails.
    pub fn put(&self, artifact: &Artifact, bytes: &[u8]) -> Result<PathBuf, RegistryError> {
        let path = self.path(artifact);
        let found = FileEntry::of_bytes(bytes);
        match self.manifest.files.get(&artifact.file) {
            Some(expected) if *expected == found => {
                if Content::checked(&path, expected).is_err() {
                    write_whole(&path, bytes)?;
                }
                Ok(path)
            }
            expected => Err(RegistryError::OtherContent {
                path,
                found: found.digest(),
                expected: expected.map(FileEntry::digest).unwrap_or_default(),
            }),
        }
    }

    /// The sentence for an artifact whose file is not there.
    #[must_use]
    pub fn not_fetched(&self, artifact: &Artifact) -> RegistryError {
        RegistryError::NotFetched { path: self.path(artifact), fetch: artifact.fetch.clone() }
    }

    /// Holds what lies in the folder to the manifest. Names that begin with a dot are drafts and other systems' own.
    fn check_folder(&self) -> Result<(), RegistryError> {
        for entry in fs::read_dir(&self.folder).map_err(RegistryError::io("list", &self.folder))? {
            let path = entry.map_err(RegistryError::io("list", &self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') || name == MANIFEST_FILE || name == SIGNATURE_FILE {
                continue;
            }
            let Some(described) = self.manifest.files.get(name) else {
                return Err(RegistryError::StrayFile { path });
            };
            match path.metadata() {
                Ok(found) => described.check_size(&path, &found)?,
                // It was taken away since, or is a link to nowhere: not fetched.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(RegistryError::io("read", path)(error)),
            }
        }
        Ok(())
    }
}

/// Writes a file so that who looks finds the old one, none, or this one whole, also after a loss of power.
///
/// # Errors
/// If writing fails.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The name begins with a dot, so that no reader takes a half-written file for one of the version's.
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| {
        // The first error is the one worth telling.
        drop(fs::remove_file(&draft));
        RegistryError::io("write", path)(error)
    })
}
