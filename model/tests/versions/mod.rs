//! `model list`, `show`, `diff`, `history`, `promote`, `rollback`, `delete` and `gc` as their users type them. None of them computes, so
//! the weights are any bytes.

use std::fs;
use std::path::Path;
use std::process::Output;

use registry::{Manifest, Registry};
use tempfile::TempDir;

use super::tiny::{lines, model, stderr};

/// `weights/shoe` in versions of the given accuracies.
fn shop(accuracies: &[f64]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().join("weights"));
    for (version, accuracy) in (1..).zip(accuracies) {
        let size = 26 + 2 * version;
        let text = format!(
            "
schema: 1
name: shoe
version: {version}
artifacts:
- {{ engine: openvino, file: model.onnx, precision: f32 }}
classes: {{ outputs: 2, labels: [{{ index: 0, label: boot }}, {{ index: 1, label: size {version} }}] }}
input: {{ size: {size}, channels: 1, fit: stretch, interpolation: bilinear, mean: [127], std: [128] }}
metrics:
- {{ name: accuracy, value: {accuracy}, data: the shop, command: model evaluate }}
license: MIT
origin: a test
files: {{ model.onnx: {{ size: 0, sha256: {} }} }}
",
            "0".repeat(64)
        );
        let manifest = Manifest::from_yaml(&text, Path::new("manifest.yaml")).unwrap();
        registry.publish(manifest, &[("model.onnx", format!("net {version}").as_bytes())]).unwrap();
    }
    folder
}

fn refused(folder: &Path, arguments: &[&str], code: i32, says: &[&str]) {
    let output: Output = model(folder, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    for word in says {
        assert!(stderr(&output).contains(word), "{arguments:?}: {} does not say {word:?}", stderr(&output));
    }
}

fn text(folder: &Path, arguments: &[&str]) -> String {
    let output = model(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_version_is_promoted_with_a_reason_and_rolled_back_and_the_history_says_so() {
    let shop = shop(&[0.9, 0.95, 0.97]);
    let shop = shop.path();
    // The first has nothing to be held against.
    let told = &lines(shop, &["promote", "shoe", "1", "--by", "ada", "--json"])[0];
    assert_eq!((&told["model"], &told["to"]), (&"shoe".into(), &1.into()));
    refused(shop, &["promote", "shoe", "2"], 2, &["not held against version 1", "--force --reason"]);
    refused(shop, &["promote", "shoe", "2", "--force"], 2, &["--reason"]);
    refused(shop, &["promote", "shoe", "2", "--force", "--reason", " "], 2, &["--reason"]);
    refused(shop, &["promote", "shoe", "1", "--force", "--reason", "x"], 2, &["already"]);
    refused(shop, &["promote", "shoe", "9", "--force", "--reason", "x"], 2, &["no version 9"]);
    let told =
        text(shop, &["promote", "shoe", "latest", "--force", "--reason", "knows\nsandals", "--by", "ada"]);
    assert_eq!(told, "production of shoe: from version 1 to version 3\n");
    assert_eq!(fs::read_to_string(shop.join("weights/shoe/production")).unwrap(), "3\n");

    refused(shop, &["rollback", "shoe", "--to", "2"], 2, &["never named version 2"]);
    assert_eq!(text(shop, &["rollback", "shoe"]), "production of shoe: from version 3 to version 1\n");
    refused(shop, &["rollback", "shoe"], 2, &["no version before"]);

    let history = lines(shop, &["history", "shoe", "--json"]);
    let told: Vec<_> =
        history.iter().map(|change| (&change["kind"], &change["from"], &change["to"])).collect();
    let (promote, rollback) = ("promote".into(), "rollback".into());
    let (one, three, none) = (1.into(), 3.into(), serde_json::Value::Null);
    assert_eq!(told, [(&promote, &none, &one), (&promote, &one, &three), (&rollback, &three, &one)]);
    assert_eq!((&history[1]["by"], &history[1]["reason"]), (&"ada".into(), &"knows\nsandals".into()));
    // Who did not say who they are is known by their account.
    assert!(history[2]["by"].as_str().unwrap().contains('@'), "{}", history[2]);
    let table = text(shop, &["history", "shoe"]);
    assert_eq!(table.lines().count(), 4, "a line each: {table}");
}

#[test]
fn versions_are_listed_with_what_names_them_and_what_is_wrong_with_one_is_said() {
    let shop = shop(&[0.9, 0.95, 0.97]);
    let shop = shop.path();
    text(shop, &["promote", "shoe", "2"]);
    text(shop, &["promote", "shoe", "2", "--alias", "canary"]);
    fs::remove_file(shop.join("weights/shoe/1/model.onnx")).unwrap();
    fs::write(shop.join("weights/shoe/3/manifest.yaml"), "schema: 1").unwrap();
    let output = model(shop, &["list", "--json"]);
    assert!(output.status.success());
    let all = lines(shop, &["list", "--json"]);
    assert_eq!(all.len(), 3);
    assert_eq!(all[1]["aliases"], serde_json::json!(["canary", "production"]));
    assert_eq!((&all[1]["accuracy"], &all[1]["bytes"]), (&0.95.into(), &5.into()));
    assert_eq!(all[1]["artifacts"][0]["fetched"], true);
    assert!(all[0]["error"].as_str().unwrap().contains("is not fetched"), "{}", all[0]);
    assert!(all[2]["error"].as_str().unwrap().contains("missing field"), "{}", all[2]);
    let output = model(shop, &["list", "shoe"]);
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(table.lines().nth(2).unwrap().contains("canary, production"), "{table}");
    assert!(stderr(&output).contains("shoe version 1 can't be served"), "{}", stderr(&output));
    refused(shop, &["list", "hat"], 2, &["no model \"hat\""]);

    let shown = text(shop, &["show", "shoe"]);
    assert!(shown.starts_with(&format!("# {}\n", all[1]["digest"].as_str().unwrap())), "{shown}");
    let manifest = Manifest::from_yaml(&shown, Path::new("shown")).unwrap();
    assert_eq!(manifest.version, 2);
    refused(shop, &["show", "shoe", "3"], 1, &["missing field"]);
}

#[test]
fn two_versions_are_held_side_by_side() {
    let shop = shop(&[0.9, 0.95]);
    let difference = &lines(shop.path(), &["diff", "shoe", "1", "latest", "--json"])[0];
    let metric = &difference["metrics"][0];
    assert_eq!(
        (&metric["name"], &metric["one"], &metric["other"]),
        (&"accuracy".into(), &0.9.into(), &0.95.into())
    );
    assert!((metric["difference"].as_f64().unwrap() - 0.05).abs() < 1e-9);
    assert_eq!(difference["labels_of_one"], serde_json::json!(["size 1"]));
    assert_eq!(difference["labels_of_other"], serde_json::json!(["size 2"]));
    let fields: Vec<&str> = difference["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["files.model.onnx.sha256", "input.size"]);
    let printed = text(shop.path(), &["diff", "shoe", "1", "2"]);
    assert!(printed.contains("+0.0500") && printed.contains("labels of 2 alone (1): size 2"), "{printed}");
}

#[test]
fn what_nobody_needs_is_shown_before_it_goes_and_what_is_in_service_stays() {
    let shop = shop(&[0.9, 0.91, 0.92, 0.93, 0.94]);
    let shop = shop.path();
    text(shop, &["promote", "shoe", "1"]);
    text(shop, &["promote", "shoe", "3", "--force", "--reason", "better"]);
    refused(shop, &["delete", "shoe", "3"], 2, &["\"production\" names"]);
    refused(shop, &["delete", "shoe", "9"], 2, &["no version 9"]);

    let numbers = |arguments: &[&str]| -> Vec<u64> {
        lines(shop, arguments).iter().map(|gone| gone["version"].as_u64().unwrap()).collect()
    };
    // 3 is in service, a rollback goes to 1, and 5 is the newest.
    assert_eq!(numbers(&["gc", "--keep", "1", "--json"]), [2, 4]);
    assert_eq!(lines(shop, &["list", "--json"]).len(), 5, "it was only shown");
    let output = model(shop, &["gc", "--keep", "1"]);
    assert!(stderr(&output).contains("--delete does it"), "{}", stderr(&output));
    assert_eq!(numbers(&["gc", "shoe", "--keep", "1", "--delete", "--json"]), [2, 4]);
    assert_eq!(numbers(&["list", "--json"]), [1, 3, 5]);
    text(shop, &["delete", "shoe", "5"]);
    assert_eq!(numbers(&["list", "--json"]), [1, 3]);
}
