//! Apache Kafka in KRaft mode from its jars: one node or three on free ports of the loopback, data in a scratch folder,
//! restartable on the same ports and data.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::paths;
use crate::process::Process;

/// Any 22 characters of base64 make a cluster id.
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";
const START_LIMIT: Duration = Duration::from_secs(90);

/// A cluster, ended with this value.
pub struct Apache {
    nodes: Vec<Node>,
}

struct Node {
    id: usize,
    port: u16,
    folder: PathBuf,
    process: Option<Process>,
}

impl Apache {
    /// Starts that many nodes, each broker and controller, and waits until all of them answer.
    ///
    /// # Panics
    /// Where the jars are missing or the broker does not come up.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        // A port noted and released may be taken by someone else before the broker binds it.
        for _ in 0..4 {
            match Self::try_start(nodes) {
                Ok(cluster) => return cluster,
                Err(words) if words.contains("Address already in use") => {}
                Err(words) => panic!("Apache Kafka did not start:\n{words}"),
            }
        }
        panic!("Apache Kafka found its ports taken, four times over")
    }

    fn try_start(count: usize) -> Result<Self, String> {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let folder = paths::scratch().join(format!("kafka-{cluster}"));
        let ports = free_ports(count * 2);
        let voters =
            (0..count).map(|i| format!("{}@127.0.0.1:{}", i + 1, ports[count + i])).collect::<Vec<_>>();
        let nodes = (0..count)
            .map(|i| {
                let node = Node {
                    id: i + 1,
                    port: ports[i],
                    folder: folder.join(format!("{}", i + 1)),
                    process: None,
                };
                node.prepare(ports[count + i], &voters).map(|()| node)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut cluster = Self { nodes };
        for node in &mut cluster.nodes {
            node.launch();
        }
        cluster.wait_until_up()?;
        Ok(cluster)
    }

    /// `host:port` of each node.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port)).collect::<Vec<_>>().join(",")
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
                    return Err(format!("node {} ended: {}", node.id, process.stdout.text()));
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
    /// Writes its configuration and formats its storage.
    fn prepare(&self, controller_port: u16, voters: &[String]) -> Result<(), String> {
        std::fs::create_dir_all(&self.folder).map_err(|e| e.to_string())?;
        let properties = self.properties(controller_port, voters);
        std::fs::write(self.folder.join("server.properties"), properties).map_err(|e| e.to_string())?;
        std::fs::write(self.folder.join("log4j2.properties"), LOG4J).map_err(|e| e.to_string())?;
        let mut format = java(&self.folder);
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", "server.properties"]);
        if voters.len() == 1 {
            format.arg("--standalone");
        }
        let done = Process::run("kafka storage format", format, START_LIMIT);
        if done.code == Some(0) { Ok(()) } else { Err(format!("{}\n{}", done.stdout, done.stderr)) }
    }

    fn properties(&self, controller_port: u16, voters: &[String]) -> String {
        let (id, port) = (self.id, self.port);
        let replicas = voters.len().min(3);
        let in_sync = if replicas == 3 { 2 } else { 1 };
        let mut text = format!(
            "process.roles=broker,controller
node.id={id}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
num.partitions=4
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
message.max.bytes=16777216
",
            self.folder.join("data").display()
        );
        let quorum = if let [_only] = voters {
            format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}")
        } else {
            format!("controller.quorum.voters={}", voters.join(","))
        };
        writeln!(text, "{quorum}").ok();
        text
    }

    fn launch(&mut self) {
        let mut command = java(&self.folder);
        command.args(["kafka.Kafka", "server.properties"]);
        self.process = Some(Process::spawn(format!("Apache Kafka node {}", self.id), command));
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

const LOG4J: &str = "status=ERROR
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c)%n%throwable
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
";

/// Ports that nobody listens on at this moment.
fn free_ports(count: usize) -> Vec<u16> {
    // All are held at once, so that no two are the same.
    let listeners = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no free port: {e}")))
        .collect::<Vec<_>>();
    listeners.iter().filter_map(|l| l.local_addr().ok()).map(|a| a.port()).collect()
}
