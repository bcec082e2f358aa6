//! Formats what a node keeps its data in. A JVM takes seconds for that and writes two small files, so it does it once for all
//! clusters without users of this process; each node gets a copy with an identity of its own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{START_LIMIT, Setup, java};
use crate::paths;
use crate::process::Process;

/// Any 22 characters of base64 make a cluster id.
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";
const IDENTITY: &str = "meta.properties";

const LOG4J: &str = "status=ERROR
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c)%n%throwable
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
";

/// Writes a node's configuration into its folder and formats its storage, `data` in it.
pub(super) fn prepare(folder: &Path, id: usize, setup: &Setup, properties: &str) -> Result<(), String> {
    write_configuration(folder, properties)?;
    if !setup.users.is_empty() {
        // The users' proofs lie in the storage from the beginning.
        return format(folder, setup);
    }
    let template = template()?;
    let data = folder.join("data");
    std::fs::create_dir_all(&data).map_err(|e| e.to_string())?;
    for entry in std::fs::read_dir(&template).map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        std::fs::copy(entry.path(), data.join(entry.file_name())).map_err(|e| e.to_string())?;
    }
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let identity = format!(
        "version=1\ncluster.id={CLUSTER_ID}\nnode.id={id}\ndirectory.id={}\n",
        &unique[..CLUSTER_ID.len()]
    );
    std::fs::write(data.join(IDENTITY), identity).map_err(|e| e.to_string())
}

/// The folder that was formatted first.
fn template() -> Result<PathBuf, String> {
    static TEMPLATE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    TEMPLATE
        .get_or_init(|| {
            let folder = paths::scratch().join("kafka-template");
            let setup = Setup::of(1);
            // Nothing listens there: it is never started.
            let ports = [super::setup::Ports { programs: 1, harness: 2, controller: 3 }];
            write_configuration(&folder, &setup.properties(1, &ports, &folder))?;
            format(&folder, &setup)?;
            Ok(folder.join("data"))
        })
        .clone()
}

fn write_configuration(folder: &Path, properties: &str) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    std::fs::write(folder.join("server.properties"), properties).map_err(|e| e.to_string())?;
    std::fs::write(folder.join("log4j2.properties"), LOG4J).map_err(|e| e.to_string())
}

fn format(folder: &Path, setup: &Setup) -> Result<(), String> {
    let mut format = java(folder);
    format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", "server.properties"]);
    for (name, password) in &setup.users {
        format.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={name},password={password}]"));
    }
    let done = Process::run("kafka storage format", format, START_LIMIT);
    if done.code == Some(0) { Ok(()) } else { Err(format!("{}\n{}", done.stdout, done.stderr)) }
}
