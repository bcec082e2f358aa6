//! Holds the shipped file and the documentation to the built-in defaults.

use std::path::Path;

use serde_yaml::Value;

use super::Config;

const FILE: &str = include_str!("../../../configs/gateway.yaml");
const PAGE: &str = include_str!("../../../docs/http.md");

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

fn all(text: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    keys(&serde_yaml::from_str(text).unwrap(), "", &mut found);
    found
}

#[test]
fn the_shipped_file_is_the_defaults() {
    let shipped: Config = cli::parse(FILE, Path::new("configs/gateway.yaml")).unwrap();
    assert_eq!(shipped, Config::default());
    assert_eq!(all(FILE), all(&Config::default().to_yaml()), "each key, in the same order, with its default");
}

#[test]
fn each_section_of_the_shipped_file_has_a_comment() {
    for section in FILE.split("\n\n").skip(1) {
        assert!(section.contains('#'), "no comment in\n{section}");
    }
    assert!(FILE.lines().all(|line| line.len() <= 140));
}

#[test]
fn each_key_is_documented_with_its_default() {
    // What is the worker's and the client's too stands on their page.
    let own = |key: &str| !key.starts_with("kafka.") && !key.starts_with("topics.");
    for (key, value) in all(&Config::default().to_yaml()).into_iter().filter(|(key, _)| own(key)) {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/http.md has no row for {key}"));
        let default = row.split('|').nth(2).unwrap().trim().trim_matches('`');
        let shown = match &value {
            Value::Null => "none".to_owned(),
            Value::Sequence(list) if list.is_empty() => "[]".to_owned(),
            other => serde_yaml::to_string(other).unwrap().trim().trim_matches('\'').to_owned(),
        };
        assert_eq!(default, shown, "{key}");
    }
}
