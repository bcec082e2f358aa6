use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    name: Option<String>,
    top_k: u32,
    sizes: Vec<u32>,
    kafka: Kafka,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kafka {
    user: Option<String>,
    consumer: BTreeMap<String, String>,
}

fn setting(key: &str, value: &str) -> Setting {
    Setting { origin: format!("--set {key}"), key: key.to_owned(), value: value.to_owned() }
}

fn load_with(text: &str, environment: &[Setting], flags: &[Setting]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yaml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources { file: Some(path), environment: environment.to_vec(), flags: flags.to_vec() };
    load(&sources).map_err(|e| e.to_string())
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file_and_that_over_the_defaults() {
    let text = "top_k: 1\nname: file\nkafka:\n  user: me\n";
    let config = load_with(text, &[setting("top_k", "2"), setting("name", "env")], &[setting("top_k", "3")]);
    let config = config.unwrap();
    assert_eq!(
        (config.top_k, config.name.as_deref(), config.kafka.user.as_deref()),
        (3, Some("env"), Some("me"))
    );
    assert_eq!(load::<Config>(&Sources::default()).unwrap(), Config::default());
    assert_eq!(load_with("# nothing\n", &[], &[]).unwrap(), Config::default());
}

#[test]
fn values_are_yaml_and_else_text() {
    let flags = [
        setting("sizes", "[2, 4]"),
        setting("kafka.user", "0815"),
        setting("kafka.consumer.fetch.wait.max.ms", "7"),
        setting("name", "a: b"),
    ];
    let config = load_with("kafka:\n", &[], &flags).unwrap();
    assert_eq!(config.sizes, [2, 4]);
    assert_eq!(config.kafka.user.as_deref(), Some("0815"));
    assert_eq!(config.kafka.consumer["fetch.wait.max.ms"], "7");
    assert_eq!(config.name.as_deref(), Some("a: b"));
}

#[test]
fn what_is_wrong_is_named_with_its_line_or_its_flag() {
    for (text, key, line) in [
        ("top_k: 1\nkafka:\n  usr: x\n", "kafka: unknown field `usr`", "line 3"),
        ("top_k: many\n", "top_k", "line 1"),
        ("top_k: 1\na: b\n", "`a`", "line 2"),
    ] {
        let error = load_with(text, &[], &[]).unwrap_err();
        assert!(error.contains("c.yaml") && error.contains(key) && error.contains(line), "{error}");
    }
    for (key, value) in [("kafka.usr", "2"), ("top_k", "many"), ("top_k.x", "1"), ("", "1"), ("kafka.", "1")]
    {
        let error = load_with("top_k: 1\n", &[], &[setting(key, value)]).unwrap_err();
        assert!(error.starts_with(&format!("--set {key}: ")), "{error}");
    }
    let sources = Sources { file: Some("no/such.yaml".into()), ..Sources::default() };
    let error = load::<Config>(&sources).unwrap_err().to_string();
    assert!(error.contains("no/such.yaml can't be read"), "{error}");
}
