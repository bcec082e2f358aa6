//! The command line: what was typed, and which configuration keys that sets. It holds no rule of its own: values are
//! checked where the configuration is.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::load::environment;
use crate::config::{LogFormat, Sources};

/// Answers prediction requests from Kafka. Without a broker configured it starts one of its own, for a first try.
///
/// Exit codes: 0 ended as asked and all answered; 2 usage or configuration error; 3 the embedded broker of another worker
/// is gone; 1 anything else; 130 or 143 ended at once by a second Ctrl-C or SIGTERM, or by one that came before the
/// configuration was read.
#[derive(Debug, Parser)]
#[command(name = "worker", version)]
pub struct Args {
    /// What to do instead of working.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Configuration file, YAML [keys: docs/configuration.md]
    #[arg(long, env = "MLAAS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Kafka's address, host:port, several with commas [key: kafka.bootstrap_servers]
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,...")]
    pub bootstrap_servers: Option<String>,
    /// The consumer group; workers of one group share the work [key: group.id]
    #[arg(long, env = "MLAAS_GROUP_ID", value_name = "ID")]
    pub group_id: Option<String>,
    /// How many instances compute at once; one for each core by default [key: instances]
    #[arg(long, env = "MLAAS_INSTANCES", value_name = "N")]
    pub instances: Option<String>,
    /// At most that many images are computed together [key: batching.max_batch_size]
    #[arg(long, env = "MLAAS_MAX_BATCH_SIZE", value_name = "N")]
    pub max_batch_size: Option<String>,
    /// cpu, cuda or auto [key: device]
    #[arg(long, env = "MLAAS_DEVICE", value_name = "DEVICE")]
    pub device: Option<String>,
    /// Where health and metrics are served; port 0 takes a free one [key: http.listen]
    #[arg(long, env = "MLAAS_HTTP_LISTEN", value_name = "ADDRESS:PORT")]
    pub http_listen: Option<String>,
    /// human or json [key: log.format]
    #[arg(long, env = "MLAAS_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// This worker's name; made of host and process by default [key: name]
    #[arg(long, env = "MLAAS_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// The folder of model versions [key: models.root]
    #[arg(long, env = "MLAAS_WEIGHTS", value_name = "DIR")]
    pub weights: Option<String>,
    /// Any key of the configuration, as --set group.session_timeout=30s; may be repeated (the environment's spelling is
    /// MLAAS_GROUP__SESSION_TIMEOUT)
    #[arg(long, env = "MLAAS_SET", value_name = "KEY=VALUE", value_delimiter = ';')]
    pub set: Vec<String>,
    /// Print the resulting configuration, secrets left out, and end: with 0, or with 2 where it is wrong
    #[arg(long, env = "MLAAS_CHECK_CONFIG", value_parser = clap::builder::FalseyValueParser::new())]
    pub check_config: bool,
}

/// What to do instead of working.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print a completion script for a shell
    Completions {
        /// Which
        shell: Shell,
    },
}

/// Flags that set a key, by the name that clap knows them by.
const KEYS: [(&str, &str); 9] = [
    ("bootstrap_servers", "kafka.bootstrap_servers"),
    ("group_id", "group.id"),
    ("instances", "instances"),
    ("max_batch_size", "batching.max_batch_size"),
    ("device", "device"),
    ("http_listen", "http.listen"),
    ("log_format", "log.format"),
    ("name", "name"),
    ("weights", "models.root"),
];

impl Args {
    /// Reads the command line and, for what is not on it, the environment.
    ///
    /// # Errors
    /// clap's, to be printed by its own `exit`.
    pub fn read(
        line: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Sources), clap::Error> {
        let command = Self::command();
        let matches = cli::flags::matches(command.clone(), line)?;
        let args = Self::from_arg_matches(&matches)?;
        // The long spelling first, so that of two variables for one key the flag's own goes before.
        let environment = environment(variables);
        let mut sources = Sources { file: args.config.clone(), environment, flags: Vec::new() };
        sources.add_flags(&command, &matches, &KEYS);
        sources.add_pairs(&matches, "set");
        Ok((args, sources))
    }

    /// Writes a completion script.
    pub fn complete(shell: Shell) {
        clap_complete::generate(shell, &mut Self::command(), "worker", &mut std::io::stdout());
    }
}

/// One line for stdout when the worker is ready.
#[must_use]
pub fn ready_line(ready: &crate::Ready, format: LogFormat) -> String {
    match format {
        LogFormat::Json => serde_json::to_string(ready).unwrap_or_default(),
        LogFormat::Human => format!(
            "ready: worker {} serves {} from {} broker {}, health and metrics at http://{}",
            ready.worker,
            ready.models.join(", "),
            if ready.embedded { "the embedded" } else { "the" },
            ready.bootstrap_servers,
            ready.http
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn read(line: &[&str], variables: &[(&str, &str)]) -> Sources {
        let line = ["worker"].iter().chain(line).map(|s| (*s).to_owned());
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Args::read(line, variables).unwrap().1
    }

    #[test]
    fn clap_finds_no_fault() {
        Args::command().debug_assert();
    }

    #[test]
    fn each_flag_sets_its_key() {
        let line = [
            "--bootstrap-servers=h:1",
            "--group-id=g",
            "--instances=3",
            "--max-batch-size=4",
            "--device=auto",
            "--http-listen=127.0.0.1:9",
            "--log-format=json",
            "--name=n",
            "--weights=w",
            "--set",
            "top_k=7",
        ];
        let config = load(&read(&line, &[])).unwrap();
        assert_eq!(config.kafka.bootstrap_servers.as_deref(), Some("h:1"));
        assert_eq!((config.group.id.as_str(), config.instances), ("g", Some(3)));
        assert_eq!(config.batching.max_batch_size, 4);
        assert_eq!(config.device.to_string(), "auto");
        assert_eq!(config.http.listen.port(), 9);
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.worker_name(), "n");
        assert_eq!(config.models.root.to_str(), Some("w"));
        assert_eq!(config.top_k, 7);
    }

    #[test]
    fn a_flag_goes_over_a_variable() {
        let sources = read(&["--set", "group.id=flag"], &[("MLAAS_GROUP__ID", "variable")]);
        assert_eq!(load(&sources).unwrap().group.id, "flag");
    }

    #[test]
    fn a_wrong_value_names_its_flag_or_variable() {
        let error = load(&read(&["--max-batch-size=many"], &[])).unwrap_err().to_string();
        assert!(error.starts_with("--max-batch-size: "), "{error}");
        let error = load(&read(&[], &[("MLAAS_BATCHING__SIZE", "4")])).unwrap_err().to_string();
        assert!(error.starts_with("MLAAS_BATCHING__SIZE: "), "{error}");
    }

    #[test]
    fn the_ready_line_is_json_for_programs() {
        let ready = crate::Ready {
            event: "ready",
            worker: "w".into(),
            bootstrap_servers: "h:1".into(),
            http: "127.0.0.1:9".into(),
            embedded: true,
            models: vec!["bird/1".into()],
        };
        let line = ready_line(&ready, LogFormat::Json);
        assert_eq!(
            line,
            r#"{"event":"ready","worker":"w","bootstrap_servers":"h:1","http":"127.0.0.1:9","embedded":true,"models":["bird/1"]}"#
        );
        assert!(ready_line(&ready, LogFormat::Human).contains("http://127.0.0.1:9"));
    }
}
