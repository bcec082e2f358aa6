//! A folder of model versions for one scene alone, to publish into and to promote in.

use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use registry::{
    Artifact, Author, Change, EngineKind, Manifest, Registry, Sample, Select, SigningKey, TryOut,
};

use crate::paths;
use crate::scene::{Scene, Worker};

/// The model that is in the folder from the start: the shipped clothes.
pub const MODEL: &str = "fashion-mnist";
const ALIAS: &str = "production";

/// The files of a pair of keys.
pub struct KeyPair {
    private: PathBuf,
    /// For whoever trusts it.
    pub public: PathBuf,
}

/// The folder. At first it holds version 1 of [`MODEL`], in production.
pub struct Versions {
    root: PathBuf,
    registry: Registry,
}

impl Versions {
    /// In the scene's folder.
    ///
    /// # Panics
    /// Where it can't be made.
    #[must_use]
    pub fn new(scene: &Scene) -> Self {
        Self::at(scene.folder.join("weights"))
    }

    /// In a folder of that name, whose version 1 says that it comes from there: no two are the same.
    ///
    /// # Panics
    /// Where it can't be made.
    #[must_use]
    pub fn of_its_own(scene: &Scene, name: &str) -> Self {
        let versions = Self::at(scene.folder.join(name));
        let path = versions.root.join(MODEL).join("1/manifest.yaml");
        let text = done("read", &path, fs::read_to_string(&path));
        let origin = |line: &str| {
            if line.starts_with("origin: ") { format!("origin: {name}") } else { line.to_owned() }
        };
        let text: Vec<_> = text.lines().map(origin).collect();
        done("write", &path, fs::write(&path, text.join("\n") + "\n"));
        versions
    }

    fn at(root: PathBuf) -> Self {
        let version = root.join(MODEL).join("1");
        done("make", &version, fs::create_dir_all(&version));
        for file in ["manifest.yaml", "model.safetensors"] {
            let shipped = paths::weights().join(MODEL).join("1").join(file);
            done("copy", &shipped, fs::copy(&shipped, version.join(file)));
        }
        let alias = root.join(MODEL).join(ALIAS);
        done("write", &alias, fs::write(&alias, "1\n"));
        let registry = done("open", &root, Registry::open(&root));
        Self { root, registry }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A worker that serves what is in it.
    #[must_use]
    pub fn worker(&self, scene: &Scene, name: &str, flags: &[&str]) -> Worker {
        let root = format!("models.root={}", self.root.display());
        scene.worker(name, &[&["--set", root.as_str()], flags].concat())
    }

    /// Publishes the same net as another version, or as another model.
    ///
    /// # Panics
    /// Where it can't be.
    pub fn publish(&self, model: &str, version: u32) {
        let file = self.root.join(MODEL).join("1/model.safetensors");
        let weights = done("read", &file, fs::read(&file));
        self.publish_file(model, version, self.first().artifacts.remove(0), &weights);
    }

    /// Publishes the same net, whose labels each stand for the class behind their own: it labels nothing as the others do.
    ///
    /// # Panics
    /// Where it can't be.
    pub fn publish_one_that_labels_otherwise(&self, version: u32) {
        let file = self.root.join(MODEL).join("1/model.safetensors");
        let weights = done("read", &file, fs::read(&file));
        let mut manifest = self.first();
        let mut labels: Vec<_> = manifest.classes.labels.iter().map(|class| class.label.clone()).collect();
        labels.rotate_left(1);
        for (class, label) in manifest.classes.labels.iter_mut().zip(labels) {
            class.label = label;
        }
        manifest.artifacts.truncate(1);
        self.publish_as(Manifest { version, metrics: Vec::new(), configuration: None, ..manifest }, &weights);
    }

    /// Publishes a version that loads, and whose net can't be computed: its code gives something else than outputs.
    ///
    /// # Panics
    /// Where it can't be.
    pub fn publish_one_that_fails(&self, version: u32) {
        let file = paths::root().join("model/tests/torchscript/pair.pt");
        let net = done("read", &file, fs::read(&file));
        let artifact = Artifact {
            engine: EngineKind::Torchscript,
            file: "model.pt".into(),
            architecture: None,
            ..self.first().artifacts.remove(0)
        };
        self.publish_file(MODEL, version, artifact, &net);
    }

    /// Publishes the same net as another version, which carries that image and should call it so.
    ///
    /// # Panics
    /// Where it can't be.
    pub fn publish_with_sample(&self, version: u32, image: &[u8], label: &str) {
        let file = self.root.join(MODEL).join("1/model.safetensors");
        let weights = done("read", &file, fs::read(&file));
        let sample = Sample { file: "sample-1.png".into(), label: label.into() };
        let artifacts = vec![self.first().artifacts.remove(0)];
        let manifest = Manifest { samples: vec![sample], ..self.made_of(MODEL, version, artifacts) };
        let files: [(&str, &[u8]); 2] = [("model.safetensors", &weights), ("sample-1.png", image)];
        done("publish in", &self.root, self.registry.publish(manifest, &files));
    }

    /// Puts a version in production.
    ///
    /// # Panics
    /// Where it can't be.
    pub fn promote(&self, version: u32) {
        let author = Author { by: "the test".into(), ..Author::default() };
        done("promote in", &self.root, self.registry.promote(MODEL, ALIAS, version, &author, None));
    }

    /// Tries a version out beside the one in production.
    ///
    /// # Panics
    /// Where it can't be.
    pub fn try_out(&self, version: u32, how: TryOut) {
        let author = Author { by: "the test".into(), ..Author::default() };
        done("try out in", &self.root, self.registry.try_out(MODEL, ALIAS, version, how, &author));
    }

    /// The last change of what is in production.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn last_change(&self) -> Change {
        let mut changes = done("read the history of", &self.root, self.registry.history(MODEL, ALIAS));
        changes.pop().unwrap_or_else(|| panic!("nothing was changed in {}", self.root.display()))
    }

    /// Goes back.
    ///
    /// # Panics
    /// Where it can't.
    pub fn roll_back(&self) {
        let author = Author { by: "the test".into(), ..Author::default() };
        done("roll back in", &self.root, self.registry.rollback(MODEL, ALIAS, None, &author));
    }

    /// A pair of keys to sign with, as `openssl` writes them.
    ///
    /// # Panics
    /// Where it can't be written.
    #[must_use]
    pub fn key_pair(&self, name: &str) -> KeyPair {
        // Nobody keeps anything safe by it: one key for each name.
        let mut seed = [0; 32];
        seed.iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let pair = KeyPair {
            private: self.root.join(format!("{name}.pem")),
            public: self.root.join(format!("{name}.pub.pem")),
        };
        let private = done("write", &pair.private, key.to_pkcs8_pem(LineEnding::LF));
        done("write", &pair.private, fs::write(&pair.private, private.as_bytes()));
        let public = done("write", &pair.public, key.verifying_key().to_public_key_pem(LineEnding::LF));
        done("write", &pair.public, fs::write(&pair.public, public));
        pair
    }

    /// Signs a version, as `model sign` does.
    ///
    /// # Panics
    /// Where it can't be.
    pub fn sign(&self, version: u32, pair: &KeyPair) {
        let key = done("read", &pair.private, SigningKey::read(&pair.private));
        done("sign in", &self.root, self.registry.sign(MODEL, version, &key));
    }

    fn first(&self) -> Manifest {
        done("load from", &self.root, self.registry.load(MODEL, &Select::Version(1))).manifest
    }

    fn publish_file(&self, model: &str, version: u32, artifact: Artifact, bytes: &[u8]) {
        let manifest = self.made_of(model, version, vec![artifact]);
        self.publish_as(manifest, bytes);
    }

    /// Its first file holds those bytes.
    fn publish_as(&self, manifest: Manifest, bytes: &[u8]) {
        let file = manifest.artifacts[0].file.clone();
        done("publish in", &self.root, self.registry.publish(manifest, &[(&file, bytes)]));
    }

    fn made_of(&self, model: &str, version: u32, artifacts: Vec<Artifact>) -> Manifest {
        Manifest {
            name: model.to_owned(),
            version,
            artifacts,
            metrics: Vec::new(),
            configuration: None,
            ..self.first()
        }
    }
}

fn done<T, E: std::fmt::Display>(what: &str, path: &Path, result: Result<T, E>) -> T {
    result.unwrap_or_else(|e| panic!("can't {what} {}: {e}", path.display()))
}
