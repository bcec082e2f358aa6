//! What can be typed. Every flag has an environment variable; a flag goes before it, it before the file, that before
//! the default.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use humantime::Duration;
use wire::Encoding;

const EXIT_CODES: &str = "\
Exit codes:
  0    all answered with success (without --wait: all taken by the broker)
  1    anything else, as a file that can't be read or an image that is too large
  2    usage or configuration error
  3    the broker can't be reached
  4    timeout: some have no answer (without --wait: no acknowledgement)
  5    some were answered with an error
  130  interrupted

Where no broker is given, the embedded one of a worker of yours is used. It
forgets what it has no room for, so on it `send` keeps at most 2 MiB unanswered
and waits for the answers also without --wait.";

/// Send images to the workers and read their answers
#[derive(Debug, Parser)]
#[command(name = "client", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// A configuration file, as configs/client.yaml
    #[arg(long, global = true, value_name = "FILE", env = "MLAAS_CLIENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The Kafka brokers; where none are given, a worker's embedded one
    #[arg(long, global = true, value_name = "HOST:PORT,..", env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub(crate) bootstrap_servers: Option<String>,
    /// How long to try to reach the broker [default: 6s]
    #[arg(long, global = true, value_name = "TIME", env = "MLAAS_CLIENT_CONNECT_TIMEOUT")]
    pub(crate) connect_timeout: Option<Duration>,
    /// Say more on stderr; -vv librdkafka's too
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "MLAAS_CLIENT_VERBOSE")]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send images, and print each one's request id or, with --wait, its answer
    Send(SendArgs),
    /// Print results as they arrive, whoever asked; joins no group and commits nothing
    Listen(ListenArgs),
    /// Print what workers say that they serve
    Models(ModelsArgs),
    /// Print a completion script
    Completions {
        /// The shell that it is for
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct SendArgs {
    /// Files, folders (images in them and below), globs, or - for one image on standard input
    #[arg(required = true, value_name = "FILE|FOLDER|GLOB|-")]
    pub(crate) images: Vec<String>,
    /// The model that should answer [default: the worker's]
    #[arg(short, long, value_name = "NAME", env = "MLAAS_CLIENT_MODEL")]
    pub(crate) model: Option<String>,
    /// Its version [default: the one that the worker serves]
    #[arg(long, value_name = "N", env = "MLAAS_CLIENT_MODEL_VERSION")]
    pub(crate) model_version: Option<u32>,
    /// How requests are encoded, and answers with them [default: bincode]
    #[arg(long, value_name = "FORMAT", env = "MLAAS_CLIENT_FORMAT", value_parser = format_parser())]
    pub(crate) format: Option<Encoding>,
    /// How many labels to return, most probable first [default: the worker's]
    #[arg(short = 'k', long, value_name = "K", env = "MLAAS_CLIENT_TOP_K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top_k: Option<u32>,
    /// The records' key, to have them taken in order [default: each one's request id]
    #[arg(long, value_name = "TEXT", env = "MLAAS_CLIENT_KEY")]
    pub(crate) key: Option<String>,
    /// How long to wait for each answer; workers drop a request whose time is over [default: 30s]
    #[arg(short, long, value_name = "TIME", env = "MLAAS_CLIENT_TIMEOUT")]
    pub(crate) timeout: Option<Duration>,
    /// Wait for the answers and print them
    #[arg(short, long, env = "MLAAS_CLIENT_WAIT", value_parser = FalseyValueParser::new())]
    pub(crate) wait: bool,
    /// Print one JSON object a line
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// The topic to send to [default: predict.requests]
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_REQUESTS_TOPIC")]
    pub(crate) topic: Option<String>,
    /// The topic that the answers come on [default: predict.results]
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_RESULTS_TOPIC")]
    pub(crate) results_topic: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ListenArgs {
    /// Only the result of that request; several times for several. Ends when each was seen
    #[arg(long, value_name = "ID", env = "MLAAS_CLIENT_REQUEST_ID", value_delimiter = ',')]
    pub(crate) request_id: Vec<String>,
    /// Begin with the oldest result that is still there
    #[arg(long, env = "MLAAS_CLIENT_FROM_BEGINNING", value_parser = FalseyValueParser::new())]
    pub(crate) from_beginning: bool,
    /// Print one JSON object a line
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// End after that many results
    #[arg(short = 'n', long, value_name = "N", env = "MLAAS_CLIENT_COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after that time; with --count or --request-id it is an error (4) if some did not come
    #[arg(short, long, value_name = "TIME", env = "MLAAS_CLIENT_LISTEN_TIMEOUT")]
    pub(crate) timeout: Option<Duration>,
    /// The topic to read [default: predict.results]
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_RESULTS_TOPIC")]
    pub(crate) topic: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ModelsArgs {
    /// Print one JSON object a line
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// The topic to read [default: predict.models]
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_MODELS_TOPIC")]
    pub(crate) topic: Option<String>,
}

/// With the names listed in help and completions.
fn format_parser() -> impl clap::builder::TypedValueParser<Value = Encoding> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(["bincode", "json", "raw"])
        .try_map(|text| text.parse::<Encoding>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_has_an_environment_variable() {
        let command = Args::command();
        command.clone().debug_assert();
        let mut commands = vec![&command];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                let name = arg.get_id().as_str();
                assert!(arg.get_env().is_some() || matches!(name, "help" | "version"), "{name}");
            }
        }
    }
}
