//! Where things are: the checkout, the executables under test, samples, the broker's jars, the folder for scratch.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder of executables beside the running test or program: `target/debug`, as a rule.
#[must_use]
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let folder = exe.parent().unwrap_or(Path::new("."));
    // target/<profile>/deps/<test>-<hash>, target/<profile>/examples/<example> or target/<profile>/<program>
    let below = folder.ends_with("deps") || folder.ends_with("examples");
    if below { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf()
}

/// The target folder.
#[must_use]
pub fn target_dir() -> PathBuf {
    profile_dir().parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A scratch folder of this test process, below the target folder. Folders of processes that are gone are removed.
#[must_use]
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let all = target_dir().join("e2e");
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_string_lossy().parse::<u32>();
            if pid.is_ok_and(|pid| !Path::new("/proc").join(pid.to_string()).is_dir()) {
                // Another test process may be removing it too.
                std::fs::remove_dir_all(entry.path()).ok();
            }
        }
        let own = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&own).unwrap_or_else(|e| panic!("cannot create {}: {e}", own.display()));
        own
    })
}

/// An executable of this workspace, built first where it is missing or older than the sources.
///
/// # Panics
/// Where it can't be built.
#[must_use]
pub fn executable(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        // `make` has built them.
        if std::env::var_os("MLAAS_E2E_BUILT").is_some() {
            return;
        }
        let newest = ["wire", "cli", "kafka", "registry", "model", "client", "gateway", "broker-worker"]
            .iter()
            .filter_map(|krate| newest_source(&root().join(krate)))
            .max();
        let stale =
            ["worker", "client", "gateway"].iter().any(|exe| modified(&profile_dir().join(exe)) < newest);
        if stale {
            build();
        }
    });
    let path = profile_dir().join(name);
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

fn build() {
    let profile = profile_dir().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let profile = if profile == "debug" { "dev".to_owned() } else { profile };
    // The whole workspace and a test of it, so that the same features are chosen as for the tests and nothing is compiled
    // twice.
    let status = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--workspace", "--bins", "--test", "e2e", "--profile", &profile])
        .arg("--target-dir")
        .arg(target_dir())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "cargo build --workspace --bins --test e2e failed");
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|m| m.modified()).ok()
}

fn newest_source(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if path.is_dir() {
                (!matches!(&*name, "tests" | "benches")).then(|| newest_source(&path)).flatten()
            } else {
                (name.ends_with(".rs") || name == "Cargo.toml").then(|| modified(&path)).flatten()
            }
        })
        .max()
}

/// The folder of samples that ship.
#[must_use]
pub fn samples() -> PathBuf {
    root().join("data/samples")
}

/// A file in it.
///
/// # Panics
/// Where it is not there.
#[must_use]
pub fn sample(name: &str) -> PathBuf {
    let path = samples().join(name);
    assert!(path.is_file(), "{} is missing", path.display());
    path
}

/// The folder of model versions, both of them complete.
///
/// # Panics
/// Where the weights were not fetched.
#[must_use]
pub fn weights() -> PathBuf {
    let weights = root().join("weights");
    for model in ["fashion-mnist", "bird"] {
        let file = weights.join(model).join("1/model.safetensors");
        assert!(
            file.is_file(),
            "{} is missing: run `make test` or `cargo xtask setup` first",
            file.display()
        );
    }
    weights
}

/// The folder with Apache Kafka's jars.
///
/// # Panics
/// Where they were not fetched: a missing broker is a failure, never a skipped test.
#[must_use]
pub fn kafka_jars() -> PathBuf {
    jars("Apache Kafka", ".deps/kafka/libs")
}

/// The folder with the jars of Spring for Apache Kafka.
///
/// # Panics
/// Where they were not fetched.
#[must_use]
pub fn spring_jars() -> PathBuf {
    jars("Spring", ".deps/spring/libs")
}

fn jars(of: &str, below: &str) -> PathBuf {
    let folder = root().join(below);
    let missing = format!("no jars of {of} in {}: run `make test` or `cargo xtask setup`", folder.display());
    assert!(folder.is_dir(), "{missing}");
    folder
}

/// The Python with clients of HTTP and gRPC interfaces.
///
/// # Panics
/// Where it was not made.
#[must_use]
pub fn http_clients() -> PathBuf {
    let python = root().join(".deps/http-clients/bin/python3");
    assert!(python.exists(), "{} is missing: run `make test` or `cargo xtask setup` first", python.display());
    python
}

/// The Python with KServe's clients.
///
/// # Panics
/// Where it was not made.
#[must_use]
pub fn kserve() -> PathBuf {
    let python = root().join(".deps/kserve/bin/python3");
    assert!(
        python.exists(),
        "{} is missing: run `make test-more` or `cargo xtask setup --for more` first",
        python.display()
    );
    python
}

/// The Python with `confluent-kafka`.
///
/// # Panics
/// Where it was not made.
#[must_use]
pub fn python() -> PathBuf {
    let python = root().join(".deps/python/bin/python3");
    assert!(python.exists(), "{} is missing: run `make test` or `cargo xtask setup` first", python.display());
    python
}
