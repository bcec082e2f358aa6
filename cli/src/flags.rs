//! Which keys a command line sets, and which ones the environment does.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::layers::{RAW_MAPS, Setting, Sources};

/// What the variables of each program begin with that has some of its own; the worker's begin with `MLAAS_` alone.
const PROGRAMS: [&str; 2] = ["MLAAS_CLIENT_", "MLAAS_GATEWAY_"];

/// The environment's variables. One whose name is not text is none of ours; a value that is not text shows where it is
/// read, as U+FFFD.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.into_string().unwrap_or_else(|odd| odd.to_string_lossy().into()),
        ))
    })
}

/// The settings among the variables: those that begin with `prefix` and hold `__`, as
/// `MLAAS_BATCHING__MAX_BATCH_SIZE`, which is `batching.max_batch_size` where the prefix is `MLAAS_`. Those that begin
/// with one of `others`, or as another program's do, are not meant. An empty one counts as unset.
pub fn environment(
    prefix: &str,
    others: &[&str],
    variables: impl Iterator<Item = (String, String)>,
) -> Vec<Setting> {
    let others: Vec<_> = others.iter().chain(PROGRAMS.iter().filter(|program| **program != prefix)).collect();
    let mut settings: Vec<_> = variables
        .filter(|(name, value)| !value.is_empty() && !others.iter().any(|other| name.starts_with(**other)))
        .filter_map(|(name, value)| {
            let rest = name.strip_prefix(prefix).filter(|rest| rest.contains("__"))?;
            let key = rest.to_lowercase().replace("__", ".");
            // No variable's name holds a dot, and no name of librdkafka's an underscore.
            let raw = RAW_MAPS.iter().any(|map| key.starts_with(&format!("{map}.")));
            let key = if raw { key.replace('_', ".") } else { key };
            Some(Setting { origin: name, key, value })
        })
        .collect();
    settings.sort_by(|a, b| a.origin.cmp(&b.origin));
    settings
}

/// The command without the variables that are empty: each counts as unset.
fn without_empty_variables(command: Command) -> Command {
    let empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(empty) { arg.env(None::<&str>) } else { arg })
        .mut_subcommands(without_empty_variables)
}

impl Sources {
    /// Adds what flags set, each named by clap's id with the key that it stands for, to the environment's layer or to the
    /// flags', by where its value came from. `command` is the one that `matches` are of.
    pub fn add_flags(&mut self, command: &Command, matches: &ArgMatches, keys: &[(&str, &str)]) {
        for &(id, key) in keys {
            let arg = command.get_arguments().find(|arg| arg.get_id() == id);
            let Some(arg) = arg else { continue };
            // Of one that is repeated the last counts.
            let Some(value) = matches.get_raw(id).and_then(Iterator::last) else { continue };
            let setting = |origin: String| Setting {
                origin,
                key: key.to_owned(),
                value: value.to_string_lossy().into_owned(),
            };
            match matches.value_source(id) {
                Some(ValueSource::CommandLine) => {
                    self.flags.push(setting(format!("--{}", arg.get_long().unwrap_or(id))));
                }
                Some(ValueSource::EnvVariable) => {
                    let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
                    self.environment.push(setting(name.unwrap_or_default()));
                }
                _ => {}
            }
        }
    }

    /// Adds the pairs of a flag `--set KEY=VALUE` whose id is `id`.
    pub fn add_pairs(&mut self, matches: &ArgMatches, id: &str) {
        let from_environment = matches.value_source(id) == Some(ValueSource::EnvVariable);
        let layer = if from_environment { &mut self.environment } else { &mut self.flags };
        for pair in matches.get_many::<String>(id).into_iter().flatten().filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            layer.push(Setting {
                origin: format!("--set {key}"),
                key: key.trim().to_owned(),
                value: value.to_owned(),
            });
        }
    }
}

/// Reads a line with a command, its empty variables counting as unset.
///
/// # Errors
/// clap's, to be printed by its own `exit`.
pub fn matches(
    command: Command,
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<ArgMatches, clap::Error> {
    without_empty_variables(command).try_get_matches_from(line)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn pairs(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings = environment("MLAAS_", &["MLAAS_CLIENT_"], variables);
        settings.into_iter().map(|s| (s.key, s.value)).collect()
    }

    #[test]
    fn the_environment_spells_keys_with_two_underscores() {
        let found = pairs(&[
            ("MLAAS_KAFKA__SASL_PASSWORD", "hunter2"),
            ("MLAAS_BATCHING__MAX_BATCH_SIZE", "4"),
            ("MLAAS_KAFKA__CONSUMER__FETCH_WAIT_MAX_MS", "7"),
            ("MLAAS_MAX_BATCH_SIZE", "5"),
            ("MLAAS_CLIENT_KAFKA__SASL_PASSWORD", "of another program"),
            ("MLAAS_GATEWAY_KAFKA__SASL_PASSWORD", "of a third"),
            ("MLAAS_GROUP__ID", ""),
            ("PATH", "/bin"),
        ]);
        let expected = [
            ("batching.max_batch_size", "4"),
            ("kafka.consumer.fetch.wait.max.ms", "7"),
            ("kafka.sasl_password", "hunter2"),
        ];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn flags_and_pairs_are_settings_that_name_what_was_typed() {
        let command = || {
            Command::new("x")
                .arg(Arg::new("group_id").long("group-id"))
                .arg(Arg::new("set").long("set").action(clap::ArgAction::Append))
        };
        let line = ["x", "--group-id", "a", "--set", "top_k=3", "--set", "empty="];
        let matches = matches(command(), line).unwrap();
        let mut sources = Sources::default();
        sources.add_flags(&command(), &matches, &[("group_id", "group.id"), ("none", "none")]);
        sources.add_pairs(&matches, "set");
        let flags: Vec<_> =
            sources.flags.iter().map(|s| (s.origin.as_str(), s.key.as_str(), s.value.as_str())).collect();
        let expected =
            [("--group-id", "group.id", "a"), ("--set top_k", "top_k", "3"), ("--set empty", "empty", "")];
        assert_eq!(flags, expected);
        assert!(sources.environment.is_empty());
    }
}
