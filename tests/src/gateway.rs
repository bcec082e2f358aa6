//! A gateway on a scene: the real executable, on its broker and its topics.

use std::process::Command;

use kafka::Topics;
use serde_json::Value;

use crate::PATIENCE;
use crate::process::Process;
use crate::scene::Scene;

/// A `gateway` that listens.
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// Where it serves HTTP.
    pub http: String,
    /// Where it serves gRPC.
    pub grpc: String,
}

impl Gateway {
    /// One with this scene's broker and topics.
    ///
    /// # Panics
    /// Where its ready line does not come, or does not say where it listens.
    #[must_use]
    pub fn start(scene: &Scene, name: &str, flags: &[&str]) -> Self {
        let mut command: Command = scene.command("gateway");
        command
            .args(["--bootstrap-servers", &scene.access.bootstrap_servers])
            .args(["--name", name, "--log-format", "json"])
            .args(["--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .args(["--set", "shutdown.delay=0s"])
            .args(flags);
        for (key, topic) in Topics::KEYS.into_iter().zip(scene.topics.names()) {
            command.args(["--set", &format!("topics.{key}={topic}")]);
        }
        for (key, value) in &scene.access.settings {
            command.env(format!("MLAAS_GATEWAY_KAFKA__{}", key.to_uppercase()), value);
        }
        let mut process = Process::spawn(format!("gateway {name}"), command);
        let ready = process.wait_for_line("its ready line", PATIENCE, |line| {
            let line = serde_json::from_str::<Value>(line).ok()?;
            (line["event"] == "ready").then_some(line)
        });
        let address = |key: &str| {
            ready[key].as_str().map(str::to_owned).unwrap_or_else(|| panic!("no {key} in {ready}"))
        };
        Self { http: address("http"), grpc: address("grpc"), process }
    }

    /// A text of docs/http.md with its addresses in place of the documented ones.
    #[must_use]
    pub fn at(&self, text: &str) -> String {
        text.replace("127.0.0.1:8000", &self.http).replace("127.0.0.1:8001", &self.grpc)
    }
}
