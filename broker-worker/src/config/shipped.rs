//! Holds the shipped file and the documentation to the built-in defaults.

use std::path::Path;

use serde_yaml::Value;

use super::{Config, load};

const FILE: &str = include_str!("../../../configs/worker.yaml");
const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The path of each key, with its value.
fn keys(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Mapping(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = key.as_str().unwrap();
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                keys(value, &path, found);
            }
        }
        value => found.push((path.to_owned(), value.clone())),
    }
}

fn all(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    keys(value, "", &mut found);
    found
}

fn built_in() -> Vec<(String, Value)> {
    all(&serde_yaml::from_str(&Config::default().to_yaml()).unwrap())
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(load::parse(FILE, Path::new("configs/worker.yaml")).unwrap(), Config::default());
    let shipped: Vec<_> = all(&serde_yaml::from_str(FILE).unwrap());
    assert_eq!(shipped, built_in(), "each key, in the same order, with its default");
}

#[test]
fn each_section_of_the_shipped_file_has_a_comment() {
    let lines: Vec<_> = FILE.lines().map(str::trim).collect();
    for section in FILE.split("\n\n").skip(1) {
        assert!(section.contains('#'), "no comment in\n{section}");
    }
    assert!(lines.iter().all(|line| line.len() <= 140));
}

#[test]
fn each_key_is_documented_with_its_default() {
    for (key, value) in built_in() {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md has no row for {key}"));
        let default = row.split('|').nth(2).unwrap().trim().trim_matches('`');
        let shown = match &value {
            Value::Null => "none".to_owned(),
            Value::Sequence(list) if list.is_empty() => "[]".to_owned(),
            Value::Mapping(map) if map.is_empty() => "{}".to_owned(),
            other => serde_yaml::to_string(other).unwrap().trim().trim_matches('\'').to_owned(),
        };
        assert!(
            default == shown || default.starts_with(&format!("{shown} (")),
            "{key}: {default} is not {shown}"
        );
    }
}
