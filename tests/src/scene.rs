//! One test's stage: a broker, topics and a group that nobody else uses, and the processes that play on it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kafka::{EmbeddedBroker, Topics};

use crate::account::Account;
use crate::apache::{Access, Apache};
use crate::layout::Layout;
use crate::process::{Finished, Process};
use crate::traffic::{Offsets, Reader, Sender};
use crate::{PATIENCE, current_test, paths, shared};

/// How many partitions each topic of a scene has where nothing else is asked for, the announcements' excepted.
pub const PARTITIONS: i32 = 4;

/// After the last answer; generous, as it is reached only when something is broken.
const COMMITTED_WITHIN: Duration = Duration::from_secs(20);
/// No answer for that long, and all committed: none will come.
const QUIET: Duration = Duration::from_secs(3);

/// Which broker a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The embedded one, one for each scene.
    Embedded,
    /// A real Kafka: the user's own where `KAFKA_BOOTSTRAP_SERVERS` names one, else Apache Kafka from its jars, one node
    /// for all tests of this process.
    Kafka,
}

/// Where a scene is set up.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// On the broker of that kind which the tests share.
    Shared(Kind),
    /// On a cluster that the test has started itself.
    Cluster(&'a Apache),
}

impl From<Kind> for Place<'_> {
    fn from(kind: Kind) -> Self {
        Self::Shared(kind)
    }
}

impl<'a> From<&'a Apache> for Place<'a> {
    fn from(cluster: &'a Apache) -> Self {
        Self::Cluster(cluster)
    }
}

/// One test's stage.
pub struct Scene {
    /// `host:port` of the broker, for the test itself: plain, and with every right.
    pub bootstrap_servers: String,
    /// How `worker` and `client` come in. Plain, unless the test's own cluster wants more of them.
    pub access: Access,
    /// Topics of this scene alone.
    pub topics: Topics,
    /// A consumer group of this scene alone.
    pub group: String,
    /// A folder of this scene alone; processes find it as `MLAAS_RUNTIME_DIR`.
    pub folder: PathBuf,
    pub(crate) embedded: Option<EmbeddedBroker>,
    broker: String,
}

impl Scene {
    /// On that kind of broker.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn on(kind: Kind) -> Self {
        Self::laid_out(kind, &Layout::default())
    }

    /// On a cluster that the test has started itself.
    #[must_use]
    pub fn on_cluster(cluster: &Apache) -> Self {
        Self::laid_out(cluster, &Layout::default())
    }

    /// With topics of that layout.
    ///
    /// # Panics
    /// Where there is no such broker, or it does not take the layout.
    #[must_use]
    pub fn laid_out<'a>(place: impl Into<Place<'a>>, layout: &Layout) -> Self {
        match place.into() {
            Place::Shared(Kind::Embedded) => {
                layout.assert_no_settings();
                let mut scene = Self::bare("the embedded broker");
                let broker = EmbeddedBroker::start(&scene.topics.names(), layout.partitions)
                    .unwrap_or_else(|e| panic!("the embedded broker did not start: {e}"));
                scene.come_in(broker.bootstrap_servers());
                scene.embedded = Some(broker);
                scene
            }
            Place::Shared(Kind::Kafka) => {
                let (bootstrap_servers, broker) = shared::kafka();
                let mut scene = Self::bare(&broker);
                scene.come_in(&bootstrap_servers);
                scene.make(&layout.specs(&scene.topics));
                scene
            }
            Place::Cluster(cluster) => {
                let mut scene = Self::bare(&shared::name(cluster));
                scene.come_in(&cluster.bootstrap_servers());
                scene.access = cluster.access();
                scene.make(&layout.specs(&scene.topics));
                scene
            }
        }
    }

    /// With no broker: `worker` is to start its own.
    #[must_use]
    pub fn without_broker() -> Self {
        let mut scene = Self::bare("a worker's embedded broker");
        scene.topics = Topics::default();
        scene
    }

    fn come_in(&mut self, bootstrap_servers: &str) {
        bootstrap_servers.clone_into(&mut self.bootstrap_servers);
        self.access = Access::plain(bootstrap_servers);
    }

    fn bare(broker: &str) -> Self {
        current_test::ran_on(broker);
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let short = &unique[..12];
        let folder = paths::scratch().join(short);
        std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        Self {
            bootstrap_servers: String::new(),
            access: Access::default(),
            topics: Topics {
                requests: format!("e2e.{short}.requests"),
                results: format!("e2e.{short}.results"),
                dead_letter: format!("e2e.{short}.dead-letter"),
                models: format!("e2e.{short}.models"),
                shadow: format!("e2e.{short}.shadow"),
                control: format!("e2e.{short}.control"),
                snapshots: format!("e2e.{short}.snapshots"),
                review: format!("e2e.{short}.review"),
                labels: format!("e2e.{short}.labels"),
                keys: format!("e2e.{short}.keys"),
            },
            group: format!("e2e-{short}"),
            folder,
            embedded: None,
            broker: broker.to_owned(),
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

    /// Has the embedded broker drop all connections and take no new one until it is told to. It binds its port anew, which must not
    /// be open in a process that is just being started: librdkafka would end the tests.
    ///
    /// # Panics
    /// If this scene plays on another broker.
    pub fn embedded_down(&self) {
        supervisor::between_starts(|| self.embedded().broker_down())
            .unwrap_or_else(|e| panic!("the broker does not go down: {e}"));
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

    /// Waits until everything is at rest, then reads all that came out into the account. At rest is: all that went in has
    /// come out; or, where something is missing, all is committed and nothing has come for a while. Whether what came out
    /// is right, and committed, is for the account to say.
    pub fn settle(&self, account: &mut Account) {
        let mut results = self.results();
        let mut dead = self.reader(&self.topics.dead_letter);
        let committed = |offsets: &[(i64, i64)]| offsets.iter().all(|(committed, end)| committed == end);
        let end = Instant::now() + PATIENCE;
        let mut quiet_since = Instant::now();
        let mut seen = 0;
        while Instant::now() < end {
            results.read_to_end(PATIENCE);
            dead.read_to_end(PATIENCE);
            account.answered(&results.seen);
            account.dead_lettered(&dead.seen);
            if account.is_complete() {
                break;
            }
            if seen != results.seen.len() + dead.seen.len() {
                seen = results.seen.len() + dead.seen.len();
                quiet_since = Instant::now();
            }
            if quiet_since.elapsed() > QUIET && committed(&self.offsets()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // What is answered is committed soon. If it is not, or an answer comes once more, the account says so.
        let end = Instant::now() + COMMITTED_WITHIN;
        while !committed(&self.offsets()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        account.committed(self.offsets());
        results.read_to_end(PATIENCE);
        dead.read_to_end(PATIENCE);
        account.answered(&results.seen);
        account.dead_lettered(&dead.seen);
    }

    /// `worker` with this scene's broker, topics and group.
    #[must_use]
    pub fn worker_command(&self, name: &str, flags: &[&str]) -> Command {
        let mut command = self.command("worker");
        command
            .args(["--bootstrap-servers", &self.access.bootstrap_servers])
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
        for (key, value) in &self.access.settings {
            command.env(format!("MLAAS_KAFKA__{}", key.to_uppercase()), value);
        }
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

    /// Runs `client` to its end, come in otherwise than the scene's programs do.
    #[must_use]
    pub fn client_as(&self, access: &Access, arguments: &[&str]) -> Finished {
        Process::run("client", self.client_command_as(access, arguments), PATIENCE)
    }

    /// `client` with this scene's broker and topics.
    #[must_use]
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        self.client_command_as(&self.access, arguments)
    }

    fn client_command_as(&self, access: &Access, arguments: &[&str]) -> Command {
        let config = self.folder.join(format!("client-{}.yaml", uuid::Uuid::new_v4().simple()));
        let Topics { requests, results, dead_letter, models, .. } = &self.topics;
        let mut text = format!(
            "topics: {{requests: {requests}, results: {results}, dead_letter: {dead_letter}, models: {models}}}\n"
        );
        if !access.settings.is_empty() {
            text.push_str("kafka:\n");
        }
        for (key, value) in &access.settings {
            writeln!(text, "  {key}: {value:?}").ok();
        }
        std::fs::write(&config, text).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        let mut command = self.command("client");
        command
            .args(arguments)
            .args(["--bootstrap-servers", &access.bootstrap_servers])
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

/// A `worker` that has said it is ready.
pub struct Worker {
    /// The process.
    pub process: Process,
    /// What it said: one JSON object.
    pub ready: serde_json::Value,
}

impl Worker {
    /// Where it serves health and metrics.
    ///
    /// # Panics
    /// If its ready line does not say.
    #[must_use]
    pub fn http(&self) -> &str {
        self.ready["http"].as_str().unwrap_or_else(|| panic!("no address in {}", self.ready))
    }

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
