//! Apache Kafka in KRaft mode from its jars: one node or three on free ports of the loopback, data in a scratch folder,
//! restartable on the same ports and data, with TLS, users and access rules where a test asks for them ([`Setup`]).
//!
//! A node has a door for the programs under test, as open or closed as the test wants it, and a plain one for the test
//! itself, which may do everything: so a test reads and sends beside a worker that may not.

mod access;
mod certificate;
mod setup;
mod storage;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

pub use access::{Access, Change};
pub use setup::{Mechanism, Setup};

use crate::paths;
use crate::process::{Frozen, Process};

const START_LIMIT: Duration = Duration::from_secs(90);

/// A cluster, ended with this value.
pub struct Apache {
    setup: Setup,
    folder: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    ports: setup::Ports,
    folder: PathBuf,
    process: Option<Process>,
}

impl Apache {
    /// Starts that many nodes, each broker and controller, and waits until all of them answer: no TLS, no users.
    ///
    /// # Panics
    /// Where the jars are missing or the broker does not come up.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        Setup::of(nodes).start()
    }

    fn start_as(setup: &Setup) -> Self {
        // A port noted and released may be taken by someone else before the broker binds it.
        for _ in 0..4 {
            match Self::try_start(setup) {
                Ok(cluster) => return cluster,
                Err(words) if words.contains("Address already in use") => {}
                Err(words) => panic!("Apache Kafka did not start:\n{words}"),
            }
        }
        panic!("Apache Kafka found its ports taken, four times over")
    }

    fn try_start(setup: &Setup) -> Result<Self, String> {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let folder = paths::scratch().join(format!("kafka-{cluster}"));
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        if setup.tls {
            certificate::make(&folder)?;
        }
        let ports = free_ports(setup.nodes * 3);
        let ports = ports
            .chunks_exact(3)
            .map(|of| setup::Ports { programs: of[0], harness: of[1], controller: of[2] })
            .collect::<Vec<_>>();
        let nodes = (1..)
            .zip(&ports)
            .map(|(id, own)| {
                let node = folder.join(id.to_string());
                storage::prepare(&node, id, setup, &setup.properties(id, &ports, &node))?;
                Ok(Node { ports: *own, folder: node, process: None })
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut cluster = Self { setup: setup.clone(), folder, nodes };
        for node in &mut cluster.nodes {
            node.launch();
        }
        cluster.wait_until_up()?;
        Ok(cluster)
    }

    /// `host:port` of each node's door for the test itself: plain, and with every right.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        addresses(self.nodes.iter().map(|node| node.ports.harness))
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Ends every node: with SIGTERM, as an operator would, or with SIGKILL.
    pub fn stop(&mut self, signal: Signal) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                process.signal(signal);
            }
        }
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                process.wait(Duration::from_secs(60));
            }
        }
    }

    /// Ends one node with SIGKILL.
    pub fn kill_node(&mut self, index: usize) {
        self.nodes[index].process = None;
    }

    /// Stops a node where it stands (SIGSTOP) until the value is dropped: its connections stay open and nothing answers.
    ///
    /// # Panics
    /// Where it does not run.
    #[must_use = "it goes on when this is dropped"]
    pub fn freeze(&self, index: usize) -> Frozen {
        let process = self.nodes[index].process.as_ref();
        process.unwrap_or_else(|| panic!("node {index} does not run")).freeze()
    }

    /// Starts the nodes that do not run, on their ports and data, and waits until all answer.
    ///
    /// # Panics
    /// Where they don't.
    pub fn resume(&mut self) {
        for node in &mut self.nodes {
            if node.process.is_none() {
                node.launch();
            }
        }
        self.wait_until_up().unwrap_or_else(|words| panic!("Apache Kafka did not come back:\n{words}"));
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            // It is asked before it listens.
            .set("log_level", "0")
            .create()
            .map_err(|e| e.to_string())?;
        let end = Instant::now() + START_LIMIT;
        loop {
            for node in &mut self.nodes {
                if let Some(process) = &mut node.process
                    && !process.is_running()
                {
                    return Err(format!("{} ended: {}", node.folder.display(), process.stdout.text()));
                }
            }
            let up = consumer.fetch_metadata(None, Duration::from_millis(500)).map(|m| m.brokers().len());
            if up.as_ref().is_ok_and(|brokers| *brokers == self.nodes.len()) {
                return Ok(());
            }
            if Instant::now() > end {
                let words = self.nodes.iter().filter_map(|n| n.process.as_ref()).map(|p| p.stdout.text());
                return Err(format!(
                    "not up after {START_LIMIT:?}\n{}",
                    words.collect::<Vec<_>>().join("\n")
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Node {
    fn launch(&mut self) {
        let mut command = java(&self.folder);
        command.args(["kafka.Kafka", "server.properties"]);
        self.process = Some(Process::spawn(format!("Apache Kafka in {}", self.folder.display()), command));
    }
}

fn java(folder: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .current_dir(folder)
        // A small heap and the plain collector and compiler: it starts sooner and leaves the machine to the tests.
        .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg("-Dlog4j2.configurationFile=file:log4j2.properties")
        .arg("-cp")
        .arg(paths::kafka_jars().join("*"));
    command
}

/// Ports that nobody listens on at this moment.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    // All are held at once, so that no two are the same.
    let listeners = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no free port: {e}")))
        .collect::<Vec<_>>();
    listeners.iter().filter_map(|l| l.local_addr().ok()).map(|a| a.port()).collect()
}

fn addresses(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}
