//! What a cluster is to be like, and the `server.properties` that make it so.

use std::fmt::Write as _;
use std::path::Path;

use super::Apache;

/// Names and passwords by which a user says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself.
    Plain,
    /// A proof that the password is known.
    ScramSha512,
}

impl Mechanism {
    /// Kafka's and librdkafka's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A cluster before it is started: `Setup::of(1).tls().user("worker", "secret").start()`. Without a word more, programs come in
/// plain and may do everything.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) nodes: usize,
    pub(super) tls: bool,
    pub(super) users: Vec<(String, String)>,
    acls: bool,
    own: Vec<(String, String)>,
}

/// Where a node listens: for the programs under test, for the test itself, for the other nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) programs: u16,
    pub(super) harness: u16,
    pub(super) controller: u16,
}

impl Setup {
    /// That many nodes.
    #[must_use]
    pub fn of(nodes: usize) -> Self {
        Self { nodes, tls: false, users: Vec::new(), acls: false, own: Vec::new() }
    }

    /// Programs come in through TLS; the certificate is made for this cluster alone.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Programs come in with a name and a password, and this is one that is known, by either [`Mechanism`].
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// A user may do what [`Apache::grant`] says and nothing else.
    #[must_use]
    pub fn acls(mut self) -> Self {
        self.acls = true;
        self
    }

    /// One more line of `server.properties`.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> Self {
        self.own.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until all nodes answer.
    ///
    /// # Panics
    /// Where the jars are missing or the broker does not come up.
    #[must_use]
    pub fn start(&self) -> Apache {
        Apache::start_as(self)
    }

    /// `security.protocol` of a program that comes in.
    pub(super) fn protocol(&self) -> &'static str {
        match (self.tls, self.users.is_empty()) {
            (false, true) => "PLAINTEXT",
            (true, true) => "SSL",
            (false, false) => "SASL_PLAINTEXT",
            (true, false) => "SASL_SSL",
        }
    }

    pub(super) fn properties(&self, id: usize, ports: &[Ports], folder: &Path) -> String {
        let Ports { programs, harness, controller } = ports[id - 1];
        let replicas = self.nodes.min(3);
        let in_sync = if replicas == 3 { 2 } else { 1 };
        let voters = (1..).zip(ports).map(|(id, of)| format!("{id}@127.0.0.1:{}", of.controller));
        let mut text = format!(
            "process.roles=broker,controller
node.id={id}
listeners=PROGRAMS://127.0.0.1:{programs},HARNESS://127.0.0.1:{harness},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PROGRAMS://127.0.0.1:{programs},HARNESS://127.0.0.1:{harness}
controller.listener.names=CONTROLLER
inter.broker.listener.name=HARNESS
listener.security.protocol.map=PROGRAMS:{},HARNESS:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters={}
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
            self.protocol(),
            voters.collect::<Vec<_>>().join(","),
            folder.join("data").display(),
        );
        for (key, value) in self.security(folder).iter().chain(&self.own) {
            writeln!(text, "{key}={value}").ok();
        }
        text
    }

    fn security(&self, folder: &Path) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        let mut set = |key: &str, value: String| lines.push((key.to_owned(), value));
        if self.tls {
            set("listener.name.programs.ssl.keystore.type", "PEM".to_owned());
            let keys = folder.with_file_name(super::certificate::KEYS);
            set("listener.name.programs.ssl.keystore.location", keys.display().to_string());
        }
        if !self.users.is_empty() {
            set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512".to_owned());
            let users = self.users.iter().map(|(name, password)| format!(" user_{name}=\"{password}\""));
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
            let users = users.collect::<String>();
            set("listener.name.programs.plain.sasl.jaas.config", format!("{module}{users};"));
            let module = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            set("listener.name.programs.scram-sha-512.sasl.jaas.config", module.to_owned());
        }
        if self.acls {
            let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
            set("authorizer.class.name", authorizer.to_owned());
            // Who comes in by the plain door has no name.
            set("super.users", "User:ANONYMOUS".to_owned());
        }
        lines
    }
}
