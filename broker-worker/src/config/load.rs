//! The worker's configuration, put together of its layers (package `cli`) and checked.

use std::path::Path;

use cli::LayerError;
pub use cli::{Setting, Sources};

use super::Config;
use crate::invalid::Invalid;

/// Why a configuration can't be used. One sentence.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A layer is not what it should be.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The keys do not go together.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Reads, puts together and checks.
///
/// # Errors
/// [`LoadError`], the first thing that is wrong.
pub fn load(sources: &Sources) -> Result<Config, LoadError> {
    let config: Config = cli::load(sources)?;
    config.validate()?;
    Ok(config)
}

/// Reads a file's text strictly, without the cross-field checks.
///
/// # Errors
/// [`LayerError::File`], with key and line.
pub fn parse(text: &str, path: &Path) -> Result<Config, LayerError> {
    cli::parse(text, path)
}

/// The worker's settings among the environment's variables.
#[must_use]
pub fn environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Setting> {
    cli::flags::environment("MLAAS_", &["MLAAS_CLIENT_"], variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    fn setting(key: &str, value: &str) -> Setting {
        Setting { origin: format!("--set {key}"), key: key.to_owned(), value: value.to_owned() }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker.yaml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn load_with(text: &str, environment: &[Setting], flags: &[Setting]) -> Result<Config, String> {
        let (_dir, path) = file(text);
        let sources = Sources { file: Some(path), environment: environment.to_vec(), flags: flags.to_vec() };
        load(&sources).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_go_over_the_environment_and_that_over_the_file() {
        let text = "top_k: 1\nbatching:\n  max_batch_size: 2\ngroup:\n  session_timeout: 30s\n";
        let env = [setting("top_k", "3"), setting("batching.max_batch_size", "4")];
        let config = load_with(text, &env, &[setting("top_k", "5")]).unwrap();
        assert_eq!(config.top_k, 5);
        assert_eq!(config.batching.max_batch_size, 4);
        assert_eq!(config.group.session_timeout, Duration::from_secs(30));
        assert_eq!(config.group.id, Config::default().group.id);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = load_with("top_k: 1\nbatching:\n  max_batch: 2\n", &[], &[]).unwrap_err();
        assert!(error.contains("worker.yaml: batching: unknown field `max_batch`"), "{error}");
        assert!(error.contains("line 3"), "{error}");
        let error = load_with("top_k: 1\nbatchin: {}\n", &[], &[]).unwrap_err();
        assert!(error.contains("`batchin`") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let error = load_with("batching:\n  max_batch_size: many\n", &[], &[]).unwrap_err();
        assert!(error.contains("batching.max_batch_size") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn values_are_yaml_and_else_text() {
        let flags = [
            setting("batching.preferred_batch_size", "[2, 4]"),
            setting("group.session_timeout", "30s"),
            setting("kafka.sasl_username", "0815"),
            setting("kafka.consumer.fetch.wait.max.ms", "7"),
            setting("http.listen", "127.0.0.1:8080"),
            setting("models.serve", "[{name: bird, version: 1}]"),
            setting("instances", "2"),
        ];
        let config = load_with("# nothing\n", &[], &flags).unwrap();
        assert_eq!(config.batching.preferred_batch_size, [2, 4]);
        assert_eq!(config.kafka.sasl_username.as_deref(), Some("0815"));
        assert_eq!(config.kafka.consumer["fetch.wait.max.ms"], "7");
        assert_eq!(config.http.listen.port(), 8080);
        assert_eq!(config.models.serve[0].name, "bird");
        assert_eq!(config.instances, Some(2));
    }

    #[test]
    fn the_environment_spells_keys_with_two_underscores() {
        let variables = [
            ("MLAAS_KAFKA__SASL_PASSWORD", "hunter2"),
            ("MLAAS_BATCHING__MAX_BATCH_SIZE", "4"),
            ("MLAAS_KAFKA__CONSUMER__FETCH_WAIT_MAX_MS", "7"),
            ("MLAAS_MAX_BATCH_SIZE", "5"),
            ("MLAAS_RUNTIME_DIR", "/x"),
            ("PATH", "/bin"),
        ];
        let settings = environment(variables.into_iter().map(|(k, v)| (k.into(), v.into())));
        let keys: Vec<_> = settings.iter().map(|s| s.key.as_str()).collect();
        assert_eq!(
            keys,
            ["batching.max_batch_size", "kafka.consumer.fetch.wait.max.ms", "kafka.sasl_password"]
        );
        let config = load_with("", &settings, &[]).unwrap();
        assert_eq!(config.batching.max_batch_size, 4);
        assert_eq!(config.kafka.sasl_password.unwrap().expose(), "hunter2");
    }

    #[test]
    fn cross_field_checks_see_all_layers() {
        let error = load_with(
            "batching: {preferred_batch_size: [8]}",
            &[],
            &[setting("batching.max_batch_size", "4")],
        );
        assert!(error.unwrap_err().contains("holds 8"));
    }
}
