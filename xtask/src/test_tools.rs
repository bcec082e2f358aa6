//! What only the tests need: Apache Kafka's jars (`.deps/kafka/libs`) and a Python with a Kafka client (`.deps/python`).

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{process, progress::step, workspace::Workspace};

const POM: &str = "xtask/kafka/pom.xml";
const REQUIREMENTS: &str = "xtask/python-requirements.txt";

/// Lets Maven fetch Apache Kafka unless the jars are there. Maven verifies what it fetches.
pub(crate) fn ensure_kafka(workspace: &Workspace) -> Result<()> {
    let folder = workspace.deps().join("kafka");
    let pom = workspace.root().join(POM);
    if same(&folder.join("pom.xml"), &pom)? {
        return Ok(());
    }
    step("Apache Kafka for the tests: a download of 44 MB, once", || {
        let scratch = workspace.scratch("kafka")?;
        let libs = scratch.join("libs");
        let mut maven = Command::new("mvn");
        maven
            .args(["--quiet", "--batch-mode", "--strict-checksums", "-Dstyle.color=never", "--file"])
            .arg(&pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", libs.display()));
        process::run(&mut maven)?;
        let broker = std::fs::read_dir(&libs)
            .with_context(|| format!("Maven wrote nothing into {}", libs.display()))?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("kafka_2.13-"));
        if !broker {
            bail!("Maven fetched no broker into {}", libs.display());
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
        && process::succeeds(Command::new(&python).args(["-c", "import confluent_kafka"]))
    {
        return Ok(());
    }
    step("Python client for the tests", || {
        // In place: an environment can't be moved.
        process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"])
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
