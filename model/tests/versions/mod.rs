//! `model list`, `show`, `diff`, `history`, `promote`, `rollback`, `sign`, `delete` and `gc` as their users type them. Of them only
//! `promote` computes, with `--data` or where a version carries samples; for the others the weights are any bytes.

mod samples;

use std::fs;
use std::path::Path;
use std::process::Output;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use registry::{Manifest, Registry, Select};
use tempfile::TempDir;

use super::tiny::{SIDE, lines, model, stderr};
use super::trained;

/// `weights/shoe` in versions of the given accuracies.
fn shop(accuracies: &[f64]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().join("weights")).unwrap();
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
fn a_version_is_tried_out_within_limits_that_stand_in_the_history() {
    let shop = shop(&[0.9, 0.95]);
    let shop = shop.path();
    text(shop, &["promote", "shoe", "1"]);
    let said = text(shop, &["promote", "shoe", "2", "--canary", "10"]);
    assert_eq!(said.trim_end(), "production of shoe: version 1 as before, version 2 a canary of 10 %");
    let all = ["--for", "1h", "--max-errors", "3", "--max-latency", "1.5", "--max-disagreement", "5%"];
    let change =
        &lines(shop, &[&["promote", "shoe", "2", "--canary", "20%", "--json"], &all[..]].concat())[0];
    let limits = serde_json::json!({"errors": 0.03, "latency": 1.5, "disagreement": 0.05, "for_s": 3600});
    assert_eq!((&change["kind"], &change["canary"]["limits"]), (&"canary".into(), &limits));
    let said = text(shop, &["promote", "shoe", "2", "--shadow", "100"]);
    assert!(said.contains("version 2 a shadow of 100 %"), "{said}");
    let history = lines(shop, &["history", "shoe", "--json"]);
    let default = serde_json::json!({"errors": 0.01, "latency": 2.0});
    assert_eq!(history[1]["canary"]["limits"], default);
    assert_eq!(history[3]["shadow"]["percent"], 100);
    let table = text(shop, &["history", "shoe"]);
    assert!(table.contains("version 2 a canary of 20 % for 1h"), "{table}");
    for (wrong, code, says) in [
        (&["--canary", "0"][..], 2, "a number from 1 to 100"),
        (&["--canary", "100"], 2, "from 1 to 99"),
        (&["--shadow", "5", "--canary", "5"], 2, "cannot be used with"),
        (&["--canary", "5", "--data", "photos"], 2, "cannot be used with"),
        (&["--shadow", "5", "--force", "--reason", "why"], 2, "cannot be used with"),
        (&["--for", "1h"], 2, "--canary"),
        (&["--canary", "5", "--for", "100ms"], 2, "--for is a second or more"),
        (&["--canary", "5", "--max-latency", "0.5"], 2, "1 or greater"),
        (&["--canary", "5", "--max-disagreement", "101"], 2, "from 0 to 100"),
    ] {
        refused(shop, &[&["promote", "shoe", "2"], wrong].concat(), code, &[says]);
    }
    refused(shop, &["delete", "shoe", "2"], 2, &["production (shadow)"]);
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
fn whoever_asks_for_signed_versions_promotes_and_lists_no_other() {
    let shop = shop(&[0.9, 0.95]);
    let shop = shop.path();
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    fs::write(shop.join("key.pem"), key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes()).unwrap();
    let public = key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    fs::write(shop.join("key.pub.pem"), public).unwrap();

    let told = &lines(shop, &["sign", "shoe", "2", "--key", "key.pem", "--json"])[0];
    assert_eq!((&told["model"], &told["version"]), (&"shoe".into(), &2.into()));
    let trusted = ["--public-keys", "key.pub.pem"];
    refused(
        shop,
        &[&["promote", "shoe", "1"], &trusted[..]].concat(),
        1,
        &["shoe/1 is not signed", "model sign"],
    );
    text(shop, &[&["promote", "shoe", "2"], &trusted[..]].concat());
    let all = lines(shop, &[&["list", "--json"], &trusted[..]].concat());
    assert!(
        all[0]["error"].as_str().unwrap().contains("is not signed") && all[1]["error"].is_null(),
        "{all:?}"
    );

    refused(
        shop,
        &["sign", "shoe", "1", "--key", "key.pub.pem"],
        2,
        &["holds no private key", "openssl genpkey"],
    );
    refused(shop, &["sign", "shoe", "9", "--key", "key.pem"], 2, &["no version 9"]);
    refused(shop, &["list", "--public-keys", "none.pem"], 2, &["there is no key at none.pem"]);
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

/// `weights/tiny`: version 1, which names all test images right, in production; 2, which takes two of ten classes for each other; and 3, which
/// is as 1.
fn contest() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().join("weights")).unwrap();
    let first = Registry::open(trained().join("weights")).unwrap();
    let first = first.load("tiny", &Select::Version(1)).unwrap();
    for version in 1..=3 {
        let mut manifest = first.manifest.clone();
        let files: Vec<(String, Vec<u8>)> = (manifest.files.keys())
            .map(|file| (file.clone(), fs::read(trained().join("weights/tiny/1").join(file)).unwrap()))
            .collect();
        if version == 2 {
            let labels = &mut manifest.classes.labels;
            let (one, other) = (labels[1].label.clone(), labels[5].label.clone());
            (labels[1].label, labels[5].label) = (other, one);
        }
        manifest.version = version;
        let files: Vec<(&str, &[u8])> = files.iter().map(|(file, bytes)| (&**file, &**bytes)).collect();
        registry.publish(manifest, &files).unwrap();
    }
    fs::write(folder.path().join("weights/tiny/production"), "1\n").unwrap();
    folder
}

/// The test images by their classes' names, for what is not known by number.
fn photos(into: &Path) {
    let data = trained().join("data");
    let pixels = fs::read(data.join("t10k-images-idx3-ubyte")).unwrap();
    let labels = fs::read(data.join("t10k-labels-idx1-ubyte")).unwrap();
    let names = Registry::open(trained().join("weights")).unwrap();
    let names = names.load("tiny", &Select::Version(1)).unwrap().manifest.classes.labels;
    for (number, (pixels, &label)) in pixels[16..].chunks_exact(SIDE * SIDE).zip(&labels[8..]).enumerate() {
        let class = into.join(names[usize::from(label)].label.replace('/', "_"));
        fs::create_dir_all(&class).unwrap();
        let file = class.join(format!("{number:03}.png"));
        image::save_buffer(file, pixels, SIDE as u32, SIDE as u32, image::ColorType::L8).unwrap();
    }
}

#[test]
fn a_version_that_names_fewer_images_right_is_not_promoted() {
    let contest = contest();
    let folder = contest.path();
    photos(&folder.join("photos"));
    let promote = ["promote", "tiny", "2", "--data", "photos"];
    let worse =
        ["version 2 of tiny is not promoted: it is worse than version 1", "-20.00 points", "--max-drop"];
    refused(folder, &promote, 1, &worse);
    refused(folder, &[&promote[..], &["--max-drop", "19.9"]].concat(), 1, &worse);
    refused(folder, &[&promote[..], &["--force"]].concat(), 2, &["--reason"]);
    refused(folder, &["promote", "tiny", "2", "--data", "nowhere"], 1, &["nowhere"]);
    fs::create_dir_all(folder.join("others/cats")).unwrap();
    fs::copy(folder.join("photos/Bag/008.png"), folder.join("others/cats/1.png")).unwrap();
    refused(folder, &["promote", "tiny", "2", "--data", "others"], 2, &["cats", "no class"]);
    let listed = lines(folder, &["list", "tiny", "--json"]);
    let in_service = |version: &serde_json::Value| version["aliases"] == serde_json::json!(["production"]);
    assert_eq!(listed.iter().position(in_service), Some(0), "nothing was changed: {listed:?}");

    // One can't be read: neither names it right.
    fs::write(folder.join("photos/Bag/008.png"), "no image").unwrap();
    let told = text(folder, &[&promote[..], &["--max-drop", "20"]].concat());
    // (0.5 - 10.5) / 52, and 1.96 * sqrt(11 - 100 / 52) / 52.
    let held = "78.00 % right, 98.00 % before; -20.00 points (95 % interval -30.59 to -7.88)";
    assert!(told.contains(held), "{told}");
    let told = text(folder, &["promote", "tiny", "3", "--data", "photos"]);
    assert!(told.contains("98.00 % right, 78.00 % before; +20.00 points"), "{told}");
    let history = lines(folder, &["history", "tiny", "--json"]);
    let evidence = &history[1]["evidence"];
    assert_eq!((&evidence["images"], &evidence["challenger"]), (&50.into(), &0.98.into()), "{history:?}");
    assert_eq!(evidence["data"], "photos");
    let table = text(folder, &["history", "tiny"]);
    assert!(table.contains("78.00 % -> 98.00 % of 50"), "{table}");

    // Whoever insists may, and what they knew is kept.
    let insist = ["promote", "tiny", "2", "--data", "photos", "--force", "--reason", "we sell no sandals"];
    text(folder, &insist);
    let last = lines(folder, &["history", "tiny", "--json"]).pop().unwrap();
    assert_eq!((&last["to"], &last["reason"]), (&2.into(), &"we sell no sandals".into()));
    assert!((last["evidence"]["difference"].as_f64().unwrap() + 0.2).abs() < 1e-9, "{last}");
}

#[test]
fn the_images_of_idx_files_decide_as_those_of_a_folder_do() {
    let contest = contest();
    let data = trained().join("data");
    let data = data.to_str().unwrap();
    let told = text(contest.path(), &["promote", "tiny", "3", "--data", data]);
    assert!(
        told.contains("50 images of") && told.contains("(test images)") && told.contains("+0.00 points"),
        "{told}"
    );
}
