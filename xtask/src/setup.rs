//! Everything that a build, and with [`Purpose::Test`] a test run, needs and that git does not hold. A second run finds it
//! all in place and takes a moment.

use std::fs::File;

use anyhow::{Context, Result};

use crate::{
    libtorch, openvino,
    system::{self, Purpose},
    test_tools, weights,
    workspace::Workspace,
};

/// One part of the set-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    /// Compilers, headers and tools of the system.
    System,
    /// libtorch for the CPU, in .deps/libtorch.
    Libtorch,
    /// OpenVINO for the CPU, in .deps/openvino.
    Openvino,
    /// The bird net's weights, in weights/bird/1.
    Weights,
    /// Apache Kafka's jars, in .deps/kafka (tests).
    Kafka,
    /// The jars of Spring for Apache Kafka, in .deps/spring (tests).
    Spring,
    /// An object store, in .deps/seaweedfs (tests).
    Seaweedfs,
    /// A Python with a Kafka client and what checks ONNX files, in .deps/python (tests).
    Python,
    /// What speaks as Azure's object store does, in .deps/azurite (`make test-more`).
    Azurite,
    /// A Python with clients of the gateway, Triton's and schemathesis, in .deps/http-clients (tests).
    HttpClients,
    /// What drives a browser, in .deps/browser (`make test-more`).
    Browser,
    /// A Python with KServe's clients, in .deps/kserve (`make test-more`).
    Kserve,
    /// A Python with MLServer, in .deps/mlserver (`make bench-peers`).
    Mlserver,
}

const DEMO: &[Part] = &[Part::System, Part::Libtorch, Part::Weights];
const DATA: &[Part] = &[Part::System];
const TEST: &[Part] = &[
    Part::System,
    Part::Libtorch,
    Part::Openvino,
    Part::Weights,
    Part::Kafka,
    Part::Spring,
    Part::Seaweedfs,
    Part::Python,
    Part::HttpClients,
];

/// What `make test-more` needs beside that.
const MORE: &[Part] = &[Part::System, Part::Azurite, Part::Browser, Part::Kserve];

/// Makes what is missing of the parts named, or of all that the purpose needs.
pub(crate) fn ensure(workspace: &Workspace, purpose: Purpose, only: &[Part]) -> Result<()> {
    let all = match purpose {
        Purpose::Demo => DEMO,
        Purpose::Data => DATA,
        Purpose::Test => TEST,
        Purpose::More => MORE,
    };
    let parts = if only.is_empty() { all } else { only };
    let _lock = lock(workspace)?;
    openvino::drop_stale(workspace.root())?;
    for part in parts {
        match part {
            Part::System => system::ensure(purpose),
            Part::Libtorch => libtorch::ensure(workspace),
            Part::Openvino => openvino::ensure(workspace),
            Part::Weights => weights::ensure(workspace, 1),
            Part::Kafka => test_tools::ensure_kafka(workspace),
            Part::Spring => test_tools::ensure_spring(workspace),
            Part::Seaweedfs => test_tools::ensure_seaweedfs(workspace),
            Part::Python => test_tools::ensure_python(workspace),
            Part::Azurite => test_tools::ensure_azurite(workspace),
            Part::HttpClients => test_tools::ensure_http_clients(workspace),
            Part::Browser => test_tools::ensure_browser(workspace),
            Part::Kserve => test_tools::ensure_kserve(workspace),
            Part::Mlserver => test_tools::ensure_mlserver(workspace),
        }?;
    }
    // Empty by now, unless a part failed.
    match std::fs::remove_dir_all(workspace.deps().join("partial")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("can't remove .deps/partial")
        }
        _ => Ok(()),
    }
}

/// Two set-ups of one checkout wait for each other. The lock goes with the file handle.
pub(crate) fn lock(workspace: &Workspace) -> Result<File> {
    let folder = workspace.deps();
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("can't open {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("another set-up of this checkout is at work: waiting for it");
        file.lock().with_context(|| format!("can't lock {}", path.display()))?;
    }
    Ok(file)
}
