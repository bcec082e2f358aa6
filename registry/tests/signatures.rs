//! Versions that are signed, and those that are not.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::PathBuf;

use common::House;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use registry::{PublicKeys, Registry, RegistryError, Select, SigningKey};

mod common;

/// Somebody's pair of keys, in files as openssl writes them.
struct Pair {
    private: PathBuf,
    public: PathBuf,
}

impl Pair {
    fn new(house: &House, seed: u8) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let (private, public) = (house.path(&format!("{seed}.pem")), house.path(&format!("{seed}.pub.pem")));
        fs::write(&private, key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes()).unwrap();
        let text = key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        fs::write(&public, text).unwrap();
        Self { private, public }
    }

    fn sign(&self, registry: &Registry, version: u32) {
        registry.sign("bird", version, &SigningKey::read(&self.private).unwrap()).unwrap();
    }
}

fn trusting(house: &House, pairs: &[&Pair]) -> Registry {
    let files: Vec<_> = pairs.iter().map(|pair| &pair.public).collect();
    house.registry().trusting(PublicKeys::read(&files).unwrap())
}

fn load(registry: &Registry, version: u32) -> Result<(), RegistryError> {
    registry.load("bird", &Select::Version(version)).map(drop)
}

#[test]
fn only_what_one_of_the_keys_signed_is_loaded() {
    let house = House::new(&[1, 2, 3]);
    let (ours, theirs, others) = (Pair::new(&house, 1), Pair::new(&house, 2), Pair::new(&house, 3));
    let digest = house.registry().load("bird", &Select::Version(1)).unwrap().digest;
    ours.sign(&house.registry(), 1);
    theirs.sign(&house.registry(), 2);
    let both = trusting(&house, &[&ours, &theirs]);
    assert!(load(&both, 1).is_ok() && load(&both, 2).is_ok());
    let unsigned = load(&both, 3).unwrap_err().to_string();
    assert!(unsigned.contains("bird/3 is not signed"), "{unsigned}");
    assert!(matches!(load(&trusting(&house, &[&others]), 1), Err(RegistryError::WronglySigned { .. })));
    // A signature is beside the version, and none of it.
    assert_eq!(house.registry().load("bird", &Select::Version(1)).unwrap().digest, digest);
    assert!(load(&house.registry(), 3).is_ok(), "where no key is asked for, none is needed");
    assert!(both.promote("bird", "production", 3, &common::author(), None).is_err(), "nor promoted");
}

#[test]
fn one_changed_byte_of_manifest_or_signature_or_another_length_is_refused() {
    let house = House::new(&[1]);
    let ours = Pair::new(&house, 1);
    ours.sign(&house.registry(), 1);
    let strict = trusting(&house, &[&ours]);
    let (manifest, signature) = (house.path("bird/1/manifest.yaml"), house.path("bird/1/manifest.yaml.sig"));
    let (text, bytes) = (fs::read(&manifest).unwrap(), fs::read(&signature).unwrap());
    assert_eq!(bytes.len(), 64);
    let wrongly = || matches!(load(&strict, 1), Err(RegistryError::WronglySigned { .. }));
    for at in [0, 31, 32, 63] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&signature, changed).unwrap();
        assert!(wrongly(), "byte {at}");
    }
    for other in [&bytes[..63], &[&bytes[..], b"\n"].concat(), b"", b"-----BEGIN"] {
        fs::write(&signature, other).unwrap();
        assert!(wrongly(), "{} bytes", other.len());
    }
    fs::write(&signature, &bytes).unwrap();
    fs::write(&manifest, [&text[..], b"\n"].concat()).unwrap();
    assert!(wrongly(), "another manifest");
    fs::write(&manifest, &text).unwrap();
    assert!(load(&strict, 1).is_ok());
}

#[test]
fn a_key_of_another_kind_is_a_sentence_with_the_command_that_makes_one() {
    let house = House::new(&[1]);
    let ours = Pair::new(&house, 1);
    let said = |result: Result<(), RegistryError>| result.unwrap_err().to_string();
    let absent = said(PublicKeys::read(&[house.path("none.pem")]).map(drop));
    assert!(absent.contains("none.pem") && absent.contains("there is no key"), "{absent}");
    for (what, text) in [
        ("half of a pair", fs::read_to_string(&ours.private).unwrap()),
        ("nothing", String::new()),
        ("no PEM", "ssh-ed25519 AAAA".to_owned()),
    ] {
        fs::write(house.path("other.pem"), text).unwrap();
        let error = said(PublicKeys::read(&[house.path("other.pem")]).map(drop));
        assert!(
            error.contains("other.pem holds no public key") && error.contains("openssl pkey"),
            "{what}: {error}"
        );
    }
    let error = said(SigningKey::read(&ours.public).map(drop));
    assert!(error.contains("holds no private key") && error.contains("openssl genpkey"), "{error}");
}
