//! The command line: what was typed, and which configuration keys that sets. It holds no rule of its own: values are
//! checked where the configuration is.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use cli::Sources;

use crate::Ready;
use crate::config::LogFormat;
use crate::key_commands::KeysCommand;

/// Answers HTTP and gRPC with what the workers say. Without a broker configured it joins a worker's embedded one.
///
/// Exit codes: 0 ended as asked and all answered; 2 usage or configuration error; 1 anything else, as an address that is taken
/// or requests that were not answered within shutdown.grace; 3 no broker answers `gateway keys`; 130 or 143 ended at once by a second Ctrl-C or SIGTERM, or by one that
/// came before the configuration was read.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Configuration file, YAML [keys: docs/http.md]
    #[arg(long, env = "MLAAS_GATEWAY_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Kafka's address, host:port, several with commas [key: kafka.bootstrap_servers]
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,...", global = true)]
    pub bootstrap_servers: Option<String>,
    /// Where HTTP is served; port 0 takes a free one [key: http.listen]
    #[arg(long, env = "MLAAS_GATEWAY_HTTP_LISTEN", value_name = "ADDRESS:PORT")]
    pub http_listen: Option<String>,
    /// Where gRPC is served, or off [key: grpc.listen]
    #[arg(long, env = "MLAAS_GATEWAY_GRPC_LISTEN", value_name = "ADDRESS:PORT|off")]
    pub grpc_listen: Option<String>,
    /// This gateway's name; with one it reads its answers from the same partition at each start [key: name]
    #[arg(long, env = "MLAAS_GATEWAY_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// human or json [key: log.format]
    #[arg(long, env = "MLAAS_GATEWAY_LOG_FORMAT", value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,
    /// Any key of the configuration, as --set limits.max_in_flight=64; may be repeated (the environment's spelling is
    /// MLAAS_GATEWAY_LIMITS__MAX_IN_FLIGHT)
    #[arg(long, env = "MLAAS_GATEWAY_SET", value_name = "KEY=VALUE", value_delimiter = ';', global = true)]
    pub set: Vec<String>,
    /// Print the resulting configuration, secrets left out, and end: with 0, or with 2 where it is wrong
    #[arg(long, env = "MLAAS_GATEWAY_CHECK_CONFIG", value_parser = clap::builder::FalseyValueParser::new())]
    pub check_config: bool,
}

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print a completion script for a shell
    Completions {
        /// Which
        shell: Shell,
    },
    /// Print the OpenAPI document of the HTTP interface
    Openapi,
    /// Make, list and revoke the keys of those who may come in (docs/security.md)
    Keys {
        /// What to do
        #[command(subcommand)]
        command: KeysCommand,
    },
}

/// Flags that set a key, by the name that clap knows them by.
const KEYS: [(&str, &str); 5] = [
    ("bootstrap_servers", "kafka.bootstrap_servers"),
    ("http_listen", "http.listen"),
    ("grpc_listen", "grpc.listen"),
    ("name", "name"),
    ("log_format", "log.format"),
];

/// Those of them that may stand behind a subcommand.
const SHARED: [&str; 2] = ["bootstrap_servers", "log_format"];

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
        let environment = cli::flags::environment("MLAAS_GATEWAY_", &[], variables);
        // Flags that all share may stand behind a subcommand, too: clap hands them down to the last, and not up.
        let mut last = &matches;
        while let Some((_, next)) = last.subcommand() {
            last = next;
        }
        let file = last.get_one::<PathBuf>("config").cloned();
        let mut sources = Sources { file, environment, flags: Vec::new() };
        let (shared, own): (Vec<_>, Vec<_>) = KEYS.into_iter().partition(|(id, _)| SHARED.contains(id));
        sources.add_flags(&command, &matches, &own);
        sources.add_flags(&command, last, &shared);
        sources.add_pairs(last, "set");
        Ok((args, sources))
    }

    /// Writes a completion script.
    pub fn complete(shell: Shell) {
        clap_complete::generate(shell, &mut Self::command(), "gateway", &mut std::io::stdout());
    }
}

/// One line for stdout when the gateway listens.
#[must_use]
pub fn ready_line(ready: &Ready, format: LogFormat) -> String {
    match format {
        LogFormat::Json => serde_json::to_string(ready).unwrap_or_default(),
        LogFormat::Human => {
            let grpc = ready.grpc.as_ref().map(|grpc| format!(", gRPC at {grpc}")).unwrap_or_default();
            let scheme = if ready.tls { "https" } else { "http" };
            format!("ready: gateway {} serves HTTP at {scheme}://{}{grpc}", ready.gateway, ready.http)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Listen};

    fn read(line: &[&str], variables: &[(&str, &str)]) -> Sources {
        let line = ["gateway"].iter().chain(line).map(|s| (*s).to_owned());
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Args::read(line, variables).unwrap().1
    }

    #[test]
    fn clap_finds_no_fault_and_every_flag_has_a_variable() {
        let command = Args::command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            let name = arg.get_id().as_str();
            assert!(arg.get_env().is_some() || matches!(name, "help" | "version"), "{name}");
        }
    }

    #[test]
    fn each_flag_sets_its_key() {
        let line = [
            "--bootstrap-servers=h:1",
            "--http-listen=127.0.0.1:9",
            "--grpc-listen=off",
            "--name=n",
            "--log-format=json",
            "--set",
            "limits.max_in_flight=70",
        ];
        let config = Config::load(&read(&line, &[])).unwrap();
        assert_eq!(config.kafka.bootstrap_servers.as_deref(), Some("h:1"));
        assert_eq!(config.http.listen.port(), 9);
        assert_eq!(config.grpc.listen, Listen::Off);
        assert_eq!(config.gateway_name(), "n");
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.limits.max_in_flight, 70);
    }

    #[test]
    fn a_flag_goes_over_a_variable_and_the_worker_s_variables_are_not_ours() {
        let variables =
            [("MLAAS_GATEWAY_LIMITS__MAX_BATCH_IMAGES", "3"), ("MLAAS_LIMITS__MAX_IMAGE_WIDTH", "5")];
        let config = Config::load(&read(&[], &variables)).unwrap();
        assert_eq!(config.limits.max_batch_images, 3);
        let config = Config::load(&read(&["--set", "limits.max_batch_images=4"], &variables)).unwrap();
        assert_eq!(config.limits.max_batch_images, 4);
    }

    #[test]
    fn shared_flags_may_stand_before_a_subcommand_and_behind_it() {
        let create = ["keys", "create", "--name", "a", "--scope", "predict,read"];
        let shared = ["--bootstrap-servers", "h:1", "--set", "topics.keys=k"];
        for line in [[&create[..], &shared].concat(), [&shared[..], &create].concat()] {
            let config = Config::load(&read(&line, &[])).unwrap();
            assert_eq!(config.kafka.bootstrap_servers.as_deref(), Some("h:1"), "{line:?}");
            assert_eq!(config.topics.keys, "k", "{line:?}");
        }
        for bad in
            [&["keys", "create", "--name", "a"][..], &["keys", "create", "--name", "a", "--scope", "all"]]
        {
            assert!(Args::read([&["gateway"], bad].concat(), std::iter::empty()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_flag_or_variable() {
        let error = Config::load(&read(&["--grpc-listen=there"], &[])).unwrap_err().to_string();
        assert!(error.starts_with("--grpc-listen: "), "{error}");
        let error = Config::load(&read(&[], &[("MLAAS_GATEWAY_HTTP__PORT", "4")])).unwrap_err().to_string();
        assert!(error.starts_with("MLAAS_GATEWAY_HTTP__PORT: "), "{error}");
    }
}
