//! Signatures of versions: whoever reads a registry may ask that each version is signed by a key that it knows.
//!
//! A signature is Ed25519 ([RFC 8032](https://www.rfc-editor.org/rfc/rfc8032)) over the bytes of the manifest, whose digests hold all
//! other files. It lies beside the manifest, 64 bytes, as `openssl pkeyutl -sign -rawin` writes it. Keys are PEM, PKCS #8 and SPKI
//! ([RFC 8410](https://www.rfc-editor.org/rfc/rfc8410)), as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.

use std::error::Error;
use std::path::Path;

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};

use crate::content::read_small;
use crate::error::RegistryError;

/// The name of a version's signature, in its folder.
pub const SIGNATURE_FILE: &str = "manifest.yaml.sig";
/// A key's file is much smaller.
pub(crate) const KEY_LIMIT: u64 = 1 << 16;

/// The public keys of those whose versions are trusted.
#[derive(Clone, Debug)]
pub struct PublicKeys(Vec<VerifyingKey>);

impl PublicKeys {
    /// Those in the files, one in each.
    ///
    /// # Errors
    /// If a file cannot be read or holds no public key of Ed25519.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self, RegistryError> {
        let key = |file: &Path| {
            let text = key_text(file)?;
            VerifyingKey::from_public_key_pem(&text).map_err(|error| bad_key(file, "public", error))
        };
        files.iter().map(|file| key(file.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Holds the manifest of the version at `place`, these bytes, to the signature beside it.
    ///
    /// # Errors
    /// If there is none, or it is not of one of these keys over these bytes.
    pub(crate) fn check(
        &self,
        place: &Path,
        manifest: &[u8],
        signature: Option<&[u8]>,
    ) -> Result<(), RegistryError> {
        let Some(bytes) = signature else {
            return Err(RegistryError::NotSigned { path: place.into() });
        };
        let signature = Signature::from_slice(bytes).ok();
        let holds = |key: &VerifyingKey| signature.is_some_and(|it| key.verify_strict(manifest, &it).is_ok());
        if self.0.iter().any(holds) {
            Ok(())
        } else {
            Err(RegistryError::WronglySigned { path: place.join(SIGNATURE_FILE) })
        }
    }
}

/// The private key of somebody whose versions are trusted.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The one in that file.
    ///
    /// # Errors
    /// If the file cannot be read or holds no private key of Ed25519 without a password.
    pub fn read(file: &Path) -> Result<Self, RegistryError> {
        let text = key_text(file)?;
        ed25519_dalek::SigningKey::from_pkcs8_pem(&text)
            .map(Self)
            .map_err(|error| bad_key(file, "private", error))
    }

    /// The signature over those bytes.
    pub(crate) fn sign(&self, manifest: &[u8]) -> [u8; Signature::BYTE_SIZE] {
        self.0.sign(manifest).to_bytes()
    }

    /// Its public half.
    pub(crate) fn public(&self) -> PublicKeys {
        PublicKeys(vec![self.0.verifying_key()])
    }
}

fn key_text(file: &Path) -> Result<String, RegistryError> {
    let missing = || RegistryError::NoKey { path: file.into() };
    let bytes = read_small(file, KEY_LIMIT)?.ok_or_else(missing)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn bad_key(file: &Path, half: &'static str, error: impl Error + Send + Sync + 'static) -> RegistryError {
    RegistryError::BadKey { path: file.into(), half, source: error.into() }
}
