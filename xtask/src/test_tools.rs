//! What only the tests need: the jars of Apache Kafka and of Spring (`.deps/kafka/libs`, `.deps/spring/libs`) and a Python with a
//! Kafka client and what checks ONNX files (`.deps/python`).

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{process, progress::step, workspace::Workspace};

const REQUIREMENTS: &str = "xtask/python-requirements.txt";

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

/// Makes the virtual environment unless it is there.
pub(crate) fn ensure_python(workspace: &Workspace) -> Result<()> {
    let folder = workspace.deps().join("python");
    let requirements = workspace.root().join(REQUIREMENTS);
    let stamp = folder.join("requirements.txt");
    let python = folder.join("bin/python");
    // A new Python of the system's breaks an environment that was made with the old one.
    if same(&stamp, &requirements)?
        && process::succeeds(
            Command::new(&python).args(["-c", "import confluent_kafka, onnx, onnxruntime, openvino, PIL"]),
        )
    {
        return Ok(());
    }
    step("Python for the tests: a download of 110 MB, once", || {
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
