use std::path::Path;

use super::*;
use crate::config::load::parse;

fn refused(text: &str) -> String {
    parse(text, Path::new("worker.yaml")).unwrap_err().to_string()
}

#[test]
fn each_key_sets_its_own_and_what_is_written_is_read_again() {
    let text = "requests: a\nresults: b\ndead_letter: c\nmodels: d\nshadow: s\ncontrol: t\nsnapshots: u\nreview: v\nlabels: w\nkeys: x\nreply_allow: e.*\npartitions: 3\nreplication_factor: 2\n";
    let topics: Topics = serde_yaml::from_str(text).unwrap();
    assert_eq!(topics.names.names(), ["a", "b", "c", "d", "s", "t", "u", "v", "w", "x"]);
    assert_eq!(topics.reply_allow, Some("e.*".parse().unwrap()));
    assert_eq!((topics.partitions, topics.replication_factor), (3, 2));
    assert_eq!(serde_yaml::to_string(&topics).unwrap(), text);
    assert_eq!(serde_yaml::from_str::<Topics>("models: d").unwrap().names.requests, "predict.requests");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let error = refused("top_k: 1\ntopics:\n  partitions: 2\n  request: a\n");
    assert!(error.contains("topics: unknown field `request`, expected one of `requests`,"), "{error}");
    assert!(error.contains("`replication_factor`") && error.contains("line 4"), "{error}");
    let error = refused("topics:\n  models: a\n  models: b\n");
    assert!(error.contains("topics: duplicate field `models` at line 2"), "{error}");
    let error = refused("topics:\n  models: a\n  partitions: many\n");
    assert!(error.contains("topics.partitions") && error.contains("line 3"), "{error}");
    let error = refused("topics:\n  results: [a]\n");
    assert!(error.contains("topics.results") && error.contains("line 2"), "{error}");
    let error = refused("topics: [a]\n");
    assert!(error.contains("topics: invalid type: sequence, expected the section topics"), "{error}");
}
