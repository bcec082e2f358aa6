//! The real Kafka that all tests of this process share.

use std::sync::OnceLock;

use crate::apache::Apache;
use crate::paths;

/// The real Kafka of this process, and what it is called in the report.
pub(crate) fn kafka() -> (String, String) {
    if let Ok(servers) = std::env::var("KAFKA_BOOTSTRAP_SERVERS")
        && !servers.trim().is_empty()
    {
        let broker = format!("the broker at {servers} (KAFKA_BOOTSTRAP_SERVERS)");
        return (servers, broker);
    }
    static SHARED: OnceLock<Apache> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| Apache::start(1));
    (cluster.bootstrap_servers(), name(cluster))
}

/// What a cluster is called in the report.
pub(crate) fn name(cluster: &Apache) -> String {
    let nodes = match cluster.nodes() {
        1 => "one node".to_owned(),
        count => format!("{count} nodes"),
    };
    format!("{}, {nodes}", apache_name())
}

/// `Apache Kafka` and the version of its jars.
fn apache_name() -> String {
    let version = std::fs::read_dir(paths::kafka_jars())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find_map(|name| name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar").map(str::to_owned));
    format!("Apache Kafka {}", version.unwrap_or_default())
}
