//! What can be typed. Every flag has an environment variable; a flag goes before it, it before the file, that before
//! the default. Which key of the configuration each sets stands in [`KEYS`] and its like.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgMatches, Command as Typed, Parser, Subcommand};
use clap_complete::Shell;
use cli::{Color, Sources};
use client::Encoding;

const EXIT_CODES: &str = "\
Exit codes:
  0    all answered with success (without --wait: all taken by the broker)
  1    anything else, as a file that can't be read, an image that is too large,
       a topic that is not there or that this user may not use
  2    usage or configuration error
  3    the broker can't be reached: it, or the addresses that it names, do not
       answer, or no broker leads a partition that is needed
  4    timeout: some have no answer (without --wait: no acknowledgement)
  5    some were answered with an error
  130  interrupted
  143  told to end (SIGTERM) while top has the terminal

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
    pub(crate) command: Option<Command>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// A configuration file, as configs/client.yaml [default: mlaas/client.yaml in your configuration folder, if there]
    #[arg(long, global = true, value_name = "FILE", env = "MLAAS_CLIENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The Kafka brokers; where none are given, a worker's embedded one
    #[arg(long, global = true, value_name = "HOST:PORT,..", env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub(crate) bootstrap_servers: Option<String>,
    /// How long to try to reach the broker [default: 6s]
    #[arg(long, global = true, value_name = "TIME", env = "MLAAS_CLIENT_CONNECT_TIMEOUT", value_parser = time)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Any key of the configuration, as --set kafka.security_protocol=ssl; may be repeated (in the environment
    /// MLAAS_CLIENT_KAFKA__SECURITY_PROTOCOL)
    #[arg(long, global = true, value_name = "KEY=VALUE", env = "MLAAS_CLIENT_SET", value_delimiter = ';')]
    pub(crate) set: Vec<String>,
    /// Print the resulting configuration, secrets left out, and end: with 0, or with 2 where it is wrong
    #[arg(long, global = true, env = "MLAAS_CLIENT_CHECK_CONFIG", value_parser = FalseyValueParser::new())]
    pub(crate) check_config: bool,
    /// Say more on stderr; -vv librdkafka's too
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "MLAAS_CLIENT_VERBOSE")]
    pub(crate) verbose: u8,
    /// Say nothing on stderr but errors: no progress, no summary
    #[arg(short, long, global = true, env = "MLAAS_CLIENT_QUIET", value_parser = FalseyValueParser::new())]
    pub(crate) quiet: bool,
    /// When to write in colour; auto heeds NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", env = "MLAAS_CLIENT_COLOR", default_value = "auto")]
    pub(crate) color: Color,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send images, and print each one's request id or, with --wait, its answer
    Send(SendArgs),
    /// Print results as they arrive, whoever asked; joins no group and commits nothing
    Listen(ListenArgs),
    /// Print what workers say that they serve
    Models(ModelsArgs),
    /// Have workers load a version of a model that they serve, before a request names it, and wait until they have
    Load(VersionArgs),
    /// Have workers let a version go that is loaded and not in service, and wait until they have
    Unload(VersionArgs),
    /// Have workers look now which versions are in service, not in a second or two
    Refresh(ControlArgs),
    /// Show what workers do, live: requests a second, times, batches, lag and errors; into a pipe a JSON object a second
    Top(TopArgs),
    /// Images that people should look at, and what they say of them
    #[command(subcommand)]
    Review(ReviewCommand),
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
    #[arg(value_name = "FILE|FOLDER|GLOB|-")]
    pub(crate) images: Vec<OsString>,
    /// Send the files and folders too whose names stand in that file, one a line; - is standard input
    #[arg(long, value_name = "FILE|-", env = "MLAAS_CLIENT_FILES_FROM")]
    pub(crate) files_from: Option<PathBuf>,
    /// Those names end with a zero byte, as find -print0 writes them
    #[arg(short = '0', long, requires = "files_from", env = "MLAAS_CLIENT_NULL", value_parser = FalseyValueParser::new())]
    pub(crate) null: bool,
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
    /// With --wait, how long to wait for each answer, counted from when it is sent; workers drop a request whose time is
    /// over [default: 30s]. Without --wait, how long to wait until the broker has it [default: as long as librdkafka tries]
    #[arg(short, long, value_name = "TIME", env = "MLAAS_CLIENT_TIMEOUT", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    /// After how long workers drop a request [default: with --wait the timeout, else never]
    #[arg(long, value_name = "TIME", env = "MLAAS_CLIENT_DEADLINE", value_parser = time)]
    pub(crate) deadline: Option<Duration>,
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
    /// Only the result of that request, of those too that came before; several times for several. Ends when each was seen
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
    #[arg(short, long, value_name = "TIME", env = "MLAAS_CLIENT_LISTEN_TIMEOUT", value_parser = time)]
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

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct TopArgs {
    /// How far back charts, errors and totals go, an hour at most [default: 5min]
    #[arg(short, long, value_name = "TIME", env = "MLAAS_CLIENT_WINDOW", value_parser = window)]
    pub(crate) window: Option<Duration>,
    /// Only what is done with that model
    #[arg(short, long, value_name = "NAME", env = "MLAAS_CLIENT_MODEL")]
    pub(crate) model: Option<String>,
    /// Only what that worker does
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_WORKER")]
    pub(crate) worker: Option<String>,
    /// Print one JSON object a second, also on a terminal
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// Print what is known now and end: on a terminal, without --json, the view as text
    #[arg(long, env = "MLAAS_CLIENT_ONCE", value_parser = FalseyValueParser::new())]
    pub(crate) once: bool,
    /// End after that many objects
    #[arg(short = 'n', long, value_name = "N", env = "MLAAS_CLIENT_COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// The topic to read [default: predict.snapshots]
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_SNAPSHOTS_TOPIC")]
    pub(crate) topic: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct VersionArgs {
    /// The model
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
    /// Its version
    #[arg(value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) number: u32,
    /// How long to wait until workers have done so [default: 30s]
    #[arg(short, long, value_name = "TIME", env = "MLAAS_CLIENT_TIMEOUT", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ControlArgs {
    /// Print one JSON object a line
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// The topic to write to [default: predict.control]
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_CONTROL_TOPIC")]
    pub(crate) topic: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReviewCommand {
    /// Print the images that workers were not sure of, and what people say of each
    List(ReviewListArgs),
    /// Write the images that people labelled to a folder, as `model train` takes it: DIR/<label>/<digest>.<ext>. Run again it adds,
    /// moves and removes what has changed
    Export(ReviewExportArgs),
    /// Say what an image shows
    Label(ReviewLabelArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ReviewListArgs {
    /// Of that model alone
    #[arg(short, long, value_name = "NAME", env = "MLAAS_CLIENT_REVIEW_MODEL")]
    pub(crate) model: Option<String>,
    /// Only those that are no older, as 2h or 7days
    #[arg(long, value_name = "TIME", env = "MLAAS_CLIENT_SINCE", value_parser = time)]
    pub(crate) since: Option<Duration>,
    /// Only those that nobody has labelled or skipped
    #[arg(long, env = "MLAAS_CLIENT_UNLABELLED", value_parser = FalseyValueParser::new())]
    pub(crate) unlabelled: bool,
    /// Print one JSON object a line
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ReviewExportArgs {
    /// The folder, made where it is not there
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The model whose labels are wanted [default: the only one that has some]
    #[arg(short, long, value_name = "NAME", env = "MLAAS_CLIENT_REVIEW_MODEL")]
    pub(crate) model: Option<String>,
    /// Print what was done as one JSON object
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES, group(clap::ArgGroup::new("what").required(true).args(["label", "skip", "take_back"])))]
pub(crate) struct ReviewLabelArgs {
    /// The image's SHA-256, or its first 8 digits or more
    #[arg(value_name = "DIGEST")]
    pub(crate) digest: String,
    /// What it shows
    #[arg(value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// It is of no use
    #[arg(long, env = "MLAAS_CLIENT_SKIP", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) skip: bool,
    /// What was said of it is not so
    #[arg(long, env = "MLAAS_CLIENT_TAKE_BACK", value_parser = FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) take_back: bool,
    /// The model whose label it is, where several looked at the image
    #[arg(short, long, value_name = "NAME", env = "MLAAS_CLIENT_REVIEW_MODEL")]
    pub(crate) model: Option<String>,
    /// Who says so [default: user@machine]
    #[arg(long, value_name = "NAME", env = "MLAAS_CLIENT_BY")]
    pub(crate) by: Option<String>,
    /// Print it as one JSON object
    #[arg(long, env = "MLAAS_CLIENT_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
}

/// Flags that set a key, by the name that clap knows them by.
const KEYS: &[(&str, &str)] =
    &[("bootstrap_servers", "kafka.bootstrap_servers"), ("connect_timeout", "connect_timeout")];
const SEND_KEYS: &[(&str, &str)] = &[
    ("model", "model"),
    ("format", "format"),
    ("top_k", "top_k"),
    ("timeout", "timeout"),
    ("deadline", "deadline"),
    ("topic", "topics.requests"),
    ("results_topic", "topics.results"),
];
const LISTEN_KEYS: &[(&str, &str)] = &[("topic", "topics.results")];
const MODELS_KEYS: &[(&str, &str)] = &[("topic", "topics.models")];
const TOP_KEYS: &[(&str, &str)] = &[("topic", "topics.snapshots")];
const CONTROL_KEYS: &[(&str, &str)] = &[("topic", "topics.control"), ("timeout", "timeout")];

/// Where the configuration comes from, as `command` read it from the line.
pub(crate) fn sources(command: &Typed, matches: &ArgMatches, args: &Args) -> Sources {
    let environment = cli::flags::environment("MLAAS_CLIENT_", &[], cli::flags::variables());
    let file = args.global.config.clone().or_else(|| cli::files::default_file("client.yaml"));
    let mut sources = Sources { file, environment, flags: Vec::new() };
    sources.add_flags(command, matches, KEYS);
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        let keys = match name {
            "send" => SEND_KEYS,
            "listen" => LISTEN_KEYS,
            "models" => MODELS_KEYS,
            "top" => TOP_KEYS,
            "load" | "unload" | "refresh" => CONTROL_KEYS,
            _ => &[],
        };
        sources.add_flags(command, matches, keys);
    }
    sources.add_pairs(matches, "set");
    sources
}

/// A time that is none is refused: nothing can be done in it.
fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be more than 0".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(format!("{error}, as 500ms, 30s or 2min")),
    }
}

/// As far back as snapshots are kept.
fn window(text: &str) -> Result<Duration, String> {
    let (least, most) = (Duration::from_secs(60), client::live::KEPT);
    match time(text)? {
        time if (least..=most).contains(&time) => Ok(time),
        _ => Err("it must be 1min to 1h".to_owned()),
    }
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
