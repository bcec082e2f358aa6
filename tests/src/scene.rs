//! One test's stage: a broker, topics and a group that nobody else uses, and the processes that play on it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kafka::{EmbeddedBroker, TopicSpec, Topics};
use rdkafka::ClientConfig;

use crate::account::Account;
use crate::apache::Apache;
use crate::process::{Finished, Process};
use crate::traffic::{Offsets, Reader, Sender};
use crate::{PATIENCE, paths, wait_until};

/// How many partitions each topic of a scene has, the announcements' excepted.
pub const PARTITIONS: i32 = 4;

/// Which broker a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The embedded one, one for each scene.
    Embedded,
    /// A real Kafka: the user's own where `KAFKA_BOOTSTRAP_SERVERS` names one, else Apache Kafka from its jars, one node
    /// for all tests of this process.
    Kafka,
}

/// One test's stage.
pub struct Scene {
    /// `host:port` of the broker.
    pub bootstrap_servers: String,
    /// Topics of this scene alone.
    pub topics: Topics,
    /// A consumer group of this scene alone.
    pub group: String,
    /// A folder of this scene alone; processes find it as `MLAAS_RUNTIME_DIR`.
    pub folder: PathBuf,
    embedded: Option<EmbeddedBroker>,
    broker: String,
}

impl Scene {
    /// On that kind of broker.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn on(kind: Kind) -> Self {
        match kind {
            Kind::Embedded => {
                let mut scene = Self::bare("the embedded broker".to_owned());
                let broker = EmbeddedBroker::start(&scene.topics.names(), PARTITIONS)
                    .unwrap_or_else(|e| panic!("the embedded broker did not start: {e}"));
                broker.bootstrap_servers().clone_into(&mut scene.bootstrap_servers);
                scene.embedded = Some(broker);
                scene
            }
            Kind::Kafka => {
                let (bootstrap_servers, broker) = shared_kafka();
                Self::at(&bootstrap_servers, broker)
            }
        }
    }

    /// On a cluster that the test has started itself.
    #[must_use]
    pub fn on_cluster(cluster: &Apache) -> Self {
        let broker = format!("{}, {}", apache_name(), nodes(cluster.nodes()));
        Self::at(&cluster.bootstrap_servers(), broker)
    }

    /// With no broker: `worker` is to start its own.
    #[must_use]
    pub fn without_broker() -> Self {
        let mut scene = Self::bare("a worker's embedded broker".to_owned());
        scene.topics = Topics::default();
        scene
    }

    fn at(bootstrap_servers: &str, broker: String) -> Self {
        let mut scene = Self::bare(broker);
        bootstrap_servers.clone_into(&mut scene.bootstrap_servers);
        scene.make(&scene.topics.specs(PARTITIONS, -1));
        scene
    }

    fn make(&self, topics: &[TopicSpec]) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|e| panic!("no runtime: {e}"));
        runtime.block_on(kafka::ensure(&config, topics)).unwrap_or_else(|e| panic!("{e}"));
    }

    /// One more topic, for answers.
    ///
    /// # Panics
    /// Where it can't be made.
    #[must_use]
    pub fn reply_topic(&self) -> String {
        let name = format!("{}.mine", self.topics.results);
        match &self.embedded {
            Some(broker) => broker.create_topic(&name, PARTITIONS).unwrap_or_else(|e| panic!("{e}")),
            None => {
                let [_, results, ..] = self.topics.specs(PARTITIONS, -1);
                self.make(&[TopicSpec { name: name.clone(), ..results }]);
            }
        }
        name
    }

    fn bare(broker: String) -> Self {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let short = &unique[..12];
        let folder = paths::scratch().join(short);
        std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        Self {
            bootstrap_servers: String::new(),
            topics: Topics {
                requests: format!("e2e.{short}.requests"),
                results: format!("e2e.{short}.results"),
                dead_letter: format!("e2e.{short}.dead-letter"),
                models: format!("e2e.{short}.models"),
            },
            group: format!("e2e-{short}"),
            folder,
            embedded: None,
            broker,
        }
    }

    /// The embedded broker of this scene, to make trouble with.
    ///
    /// # Panics
    /// Where it plays on another one.
    #[must_use]
    pub fn embedded(&self) -> &EmbeddedBroker {
        self.embedded.as_ref().unwrap_or_else(|| panic!("this scene plays on {}", self.broker))
    }

    /// Sends requests.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender::new(&self.bootstrap_servers, &self.topics.requests)
    }

    /// Reads results.
    #[must_use]
    pub fn results(&self) -> Reader {
        self.reader(&self.topics.results)
    }

    /// Reads any topic.
    #[must_use]
    pub fn reader(&self, topic: &str) -> Reader {
        Reader::new(&self.bootstrap_servers, topic)
    }

    /// `(committed, end)` of each partition of the request topic.
    #[must_use]
    pub fn offsets(&self) -> Vec<(i64, i64)> {
        Offsets::of_group(&self.bootstrap_servers, &self.group, &self.topics.requests)
    }

    /// Waits until the group has committed everything, then reads all that came out into the account.
    ///
    /// # Panics
    /// Where it does not come to rest.
    pub fn settle(&self, account: &mut Account) {
        wait_until("committed offset = end offset on each partition", PATIENCE, || {
            let offsets = self.offsets();
            let rest = offsets.iter().all(|(committed, end)| committed == end);
            if rest { Ok(()) } else { Err(format!("(committed, end): {offsets:?}")) }
        });
        let mut results = self.results();
        results.read_to_end(PATIENCE);
        account.answered(&results.seen);
        let mut dead = self.reader(&self.topics.dead_letter);
        dead.read_to_end(PATIENCE);
        account.dead_lettered(&dead.seen);
        account.committed(self.offsets());
    }

    /// `worker` with this scene's broker, topics and group.
    #[must_use]
    pub fn worker_command(&self, name: &str, flags: &[&str]) -> Command {
        let mut command = self.command("worker");
        command
            .args(["--bootstrap-servers", &self.bootstrap_servers])
            .args(["--group-id", &self.group, "--name", name, "--log-format", "json"])
            .args(["--http-listen", "127.0.0.1:0", "--instances", "1"])
            .arg("--weights")
            .arg(paths::weights())
            .args(["--set", &format!("topics.requests={}", self.topics.requests)])
            .args(["--set", &format!("topics.results={}", self.topics.results)])
            .args(["--set", &format!("topics.dead_letter={}", self.topics.dead_letter)])
            .args(["--set", &format!("topics.models={}", self.topics.models)])
            // The shortest that Kafka allows: a killed worker's partitions come back that soon.
            .args(["--set", "group.session_timeout=6s", "--set", "group.drain_timeout=4s"])
            .args(flags);
        command
    }

    /// A worker that is ready.
    #[must_use]
    pub fn worker(&self, name: &str, flags: &[&str]) -> Worker {
        Worker::start(name, self.worker_command(name, flags))
    }

    /// Runs `client` with this scene's broker and topics to its end.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Finished {
        let command = self.client_command(arguments);
        Process::run("client", command, PATIENCE)
    }

    /// `client` with this scene's broker and topics.
    #[must_use]
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        let config = self.folder.join("client.yaml");
        let Topics { requests, results, dead_letter, models } = &self.topics;
        let text = format!(
            "topics: {{requests: {requests}, results: {results}, dead_letter: {dead_letter}, models: {models}}}\n"
        );
        std::fs::write(&config, text).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        let mut command = self.command("client");
        command
            .args(arguments)
            .args(["--bootstrap-servers", &self.bootstrap_servers])
            .arg("--config")
            .arg(config);
        command
    }

    /// An executable of ours, at the root of the checkout, with none of the surroundings' settings.
    #[must_use]
    pub fn command(&self, executable: &str) -> Command {
        self.plain(&paths::executable(executable))
    }

    fn plain(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(paths::root()).env_clear();
        let kept = |name: &str| name != "KAFKA_BOOTSTRAP_SERVERS" && !name.starts_with("MLAAS_");
        command.envs(std::env::vars_os().filter(|(name, _)| kept(&name.to_string_lossy())));
        command.env("MLAAS_RUNTIME_DIR", self.folder.join("run"));
        // A configuration file of the user's own would be read.
        command.env("XDG_CONFIG_HOME", self.folder.join("config"));
        command
    }

    /// A shell that runs that script at the root of the checkout, with this scene's broker in
    /// `KAFKA_BOOTSTRAP_SERVERS` and our executables and the Python with `confluent-kafka` first in its path.
    #[must_use]
    pub fn shell(&self, script: &str, limit: Duration) -> Finished {
        let mut command = self.plain(Path::new("/bin/bash"));
        let python = paths::python();
        let tools = [paths::profile_dir(), python.parent().map(Path::to_path_buf).unwrap_or_default()];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(tools.into_iter().chain(std::env::split_paths(&path)))
            .unwrap_or_else(|e| panic!("{e}"));
        command
            .args(["-euo", "pipefail", "-c", script])
            .env("PATH", path)
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap_servers);
        Process::run("shell", command, limit)
    }

    /// The text with the documented topic names replaced by this scene's own.
    #[must_use]
    pub fn with_topics(&self, text: &str) -> String {
        let documented = Topics::default();
        documented
            .names()
            .iter()
            .zip(self.topics.names())
            .fold(text.to_owned(), |text, (documented, own)| text.replace(documented, own))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            report(&self.broker);
        }
    }
}

/// A `worker` that has said it is ready.
pub struct Worker {
    /// The process.
    pub process: Process,
    /// What it said: one JSON object.
    pub ready: serde_json::Value,
}

impl Worker {
    /// Starts it and waits for the line.
    #[must_use]
    pub fn start(name: &str, command: Command) -> Self {
        Self::ready(Process::spawn(format!("worker {name}"), command))
    }

    /// Waits for the line.
    #[must_use]
    pub fn ready(mut process: Process) -> Self {
        let ready = process.wait_for_line("its ready line", PATIENCE, |line| {
            let line = serde_json::from_str::<serde_json::Value>(line).ok()?;
            (line["event"] == "ready").then_some(line)
        });
        Self { process, ready }
    }

    /// The broker that it uses, or is.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.ready["bootstrap_servers"].as_str().unwrap_or_default().to_owned()
    }
}

/// The real Kafka of this process, and what it is called in the report.
fn shared_kafka() -> (String, String) {
    if let Ok(servers) = std::env::var("KAFKA_BOOTSTRAP_SERVERS")
        && !servers.trim().is_empty()
    {
        let broker = format!("the broker at {servers} (KAFKA_BOOTSTRAP_SERVERS)");
        return (servers, broker);
    }
    static SHARED: OnceLock<Apache> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| Apache::start(1));
    (cluster.bootstrap_servers(), format!("{}, {}", apache_name(), nodes(1)))
}

fn nodes(count: usize) -> String {
    if count == 1 { "one node".to_owned() } else { format!("{count} nodes") }
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

/// One line for each passed test, `<broker>\t<test>`, in `e2e-brokers.txt` of the target folder: what ran on which broker.
fn report(broker: &str) {
    static FILE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = paths::target_dir().join("e2e-brokers.txt");
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("{broker}\t{test}\n");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(e) = written {
        eprintln!("{}: {e}", path.display());
    }
}
