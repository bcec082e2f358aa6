//! The layers of a configuration: built-in defaults, then a file, then the environment, then flags. Each layer is strict,
//! and an error names the file and line, the variable or the flag where it is.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::{Config, Invalid};

/// A variable of this prefix that holds `__` sets a key: `MLAAS_BATCHING__MAX_BATCH_SIZE` is `batching.max_batch_size`.
pub const PREFIX: &str = "MLAAS_";

/// Where a configuration comes from, the later going before the earlier.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A YAML file.
    pub file: Option<PathBuf>,
    /// Keys set by the environment.
    pub environment: Vec<Setting>,
    /// Keys set by flags.
    pub flags: Vec<Setting>,
}

/// One key set outside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What the user typed, for messages: `--set top_k` or the variable's name.
    pub origin: String,
    /// The key, as `batching.max_batch_size`.
    pub key: String,
    /// Its value, YAML.
    pub value: String,
}

/// Why a configuration can't be used. One sentence.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("the configuration file {path} can't be read: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// The key, the line and what is wrong.
        reason: String,
    },
    /// A flag or variable is not what it should be.
    #[error("{origin}: {reason}")]
    Setting {
        /// Which.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// The keys do not go together.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Reads, puts together and checks.
///
/// # Errors
/// [`LoadError`], the first thing that is wrong.
pub fn load(sources: &Sources) -> Result<Config, LoadError> {
    let mut config = match &sources.file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| LoadError::Read { path: path.clone(), source })?;
            parse(&text, path)?
        }
        None => Config::default(),
    };
    let settings: Vec<_> = sources.environment.iter().chain(&sources.flags).collect();
    if !settings.is_empty() {
        let mut tree = tree(sources.file.as_deref())?;
        for setting in settings {
            (tree, config) = set(&tree, setting)?;
        }
    }
    config.validate()?;
    Ok(config)
}

/// Reads a file's text strictly, without the cross-field checks.
///
/// # Errors
/// [`LoadError::File`], with key and line.
pub fn parse(text: &str, path: &Path) -> Result<Config, LoadError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Config::default());
    }
    serde_yaml::from_str(text).map_err(|e| LoadError::File { path: path.to_owned(), reason: e.to_string() })
}

/// The settings among the environment's variables. Those without `__` belong to flags or to other programs.
#[must_use]
pub fn environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Setting> {
    let mut settings: Vec<_> = variables
        .filter_map(|(name, value)| {
            let rest = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__"))?;
            let key = rest.to_lowercase().replace("__", ".");
            // No variable's name holds a dot, and no name of librdkafka's an underscore.
            let raw = ["kafka.common.", "kafka.consumer.", "kafka.producer."]
                .iter()
                .any(|map| key.starts_with(map));
            let key = if raw { key.replace('_', ".") } else { key };
            Some(Setting { origin: name, key, value })
        })
        .collect();
    settings.sort_by(|a, b| a.origin.cmp(&b.origin));
    settings
}

/// The file as a tree, which has been read strictly before.
fn tree(file: Option<&Path>) -> Result<Value, LoadError> {
    let Some(path) = file else { return Ok(Value::Mapping(Mapping::new())) };
    let text =
        std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    match serde_yaml::from_str(&text) {
        Ok(Value::Null) => Ok(Value::Mapping(Mapping::new())),
        Ok(tree) => Ok(tree),
        Err(e) => Err(LoadError::File { path: path.to_owned(), reason: e.to_string() }),
    }
}

/// The tree with one key set, and what it means. The value is YAML, or else plain text: a password may look like a
/// number.
fn set(tree: &Value, setting: &Setting) -> Result<(Value, Config), LoadError> {
    let wrong = |reason: String| LoadError::Setting { origin: setting.origin.clone(), reason };
    let text = Value::String(setting.value.clone());
    let yaml = serde_yaml::from_str(&setting.value).unwrap_or_else(|_| text.clone());
    let mut first = None;
    for value in [yaml, text] {
        let mut tree = tree.clone();
        place(&mut tree, &setting.key, value).map_err(wrong)?;
        match serde_yaml::from_value(tree.clone()) {
            Ok(config) => return Ok((tree, config)),
            Err(e) => first = first.or(Some(e.to_string())),
        }
    }
    Err(wrong(format!("{} (setting {})", first.unwrap_or_default(), setting.key)))
}

fn place(tree: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let (head, rest) = match key.split_once('.') {
        // The names in these maps hold dots themselves: the rest is one name.
        Some(("kafka", rest))
            if rest.starts_with("common.")
                || rest.starts_with("consumer.")
                || rest.starts_with("producer.") =>
        {
            let (map, name) = rest.split_once('.').unwrap_or((rest, ""));
            let map = child(child(tree, "kafka")?, map)?;
            return insert(map, name, value);
        }
        Some((head, rest)) => (head, Some(rest)),
        None => (key, None),
    };
    match rest {
        Some(rest) => place(child(tree, head)?, rest, value),
        None => insert(tree, head, value),
    }
}

fn child<'a>(tree: &'a mut Value, name: &str) -> Result<&'a mut Value, String> {
    let map =
        tree.as_mapping_mut().ok_or_else(|| format!("there is nothing below the key before '{name}'"))?;
    let child = map.entry(Value::String(name.to_owned())).or_insert(Value::Null);
    if child.is_null() {
        *child = Value::Mapping(Mapping::new());
    }
    Ok(child)
}

fn insert(tree: &mut Value, name: &str, value: Value) -> Result<(), String> {
    if name.is_empty() {
        return Err("the key is empty or ends with a dot".to_owned());
    }
    let map =
        tree.as_mapping_mut().ok_or_else(|| format!("there is nothing below the key before '{name}'"))?;
    map.insert(Value::String(name.to_owned()), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_wrong_flag_is_named() {
        for (key, value) in [("batching.max_batch", "2"), ("top_k", "many"), ("top_k.x", "1"), ("", "1")] {
            let error = load_with("top_k: 1\n", &[], &[setting(key, value)]).unwrap_err();
            assert!(error.starts_with(&format!("--set {key}: ")), "{error}");
        }
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

    #[test]
    fn a_file_that_is_not_there_is_said() {
        let sources = Sources { file: Some("no/such.yaml".into()), ..Sources::default() };
        assert!(load(&sources).unwrap_err().to_string().contains("no/such.yaml can't be read"));
    }
}
