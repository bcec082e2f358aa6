//! There and back: both models, every format, the command line and the library.

use std::collections::BTreeMap;

use e2e::PATIENCE;
use e2e::images::{Sample, birds, clothes};
use e2e::paths;
use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use serde_json::Value;

on_both_brokers!(
    both_models_in_all_formats,
    many_callers_share_one_connection,
    awkward_files_are_answered_as_the_command_line_answers_them
);

fn label(result: &Value) -> &str {
    result["predictions"][0]["label"].as_str().unwrap_or_default()
}

fn both_models_in_all_formats(kind: Kind) {
    let scene = Scene::on(kind);
    let worker = scene.worker("w1", &[]);
    let models = worker.ready["models"].as_array().map(Vec::len);
    assert_eq!(models, Some(2), "{}", worker.ready);

    for (model, samples) in [("fashion-mnist", clothes()), ("bird", birds())] {
        for format in ["bincode", "json", "raw"] {
            let mut arguments = vec!["send", "--wait", "--json", "--model", model, "--format", format];
            let files = samples.iter().map(|s| s.path.display().to_string()).collect::<Vec<_>>();
            arguments.extend(files.iter().map(String::as_str));
            let sent = scene.client(&arguments);
            assert_eq!(sent.code, Some(0), "{model} {format}: {sent:?}");
            let results =
                sent.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<Value>>();
            assert_eq!(results.len(), samples.len(), "{model} {format}");
            for Sample { path, label: expected, .. } in &samples {
                let file = path.display().to_string();
                let result = results.iter().find(|r| r["file"] == file.as_str()).unwrap();
                assert_eq!(label(result), expected, "{model} {format}: {result}");
                assert_eq!(result["model"]["name"], model);
                let digest = result["model"]["digest"].as_str().unwrap();
                assert!(digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64), "{digest}");
            }
        }
    }

    // The models that the worker announced are those that it serves.
    let announced = scene.client(&["models", "--json"]);
    assert_eq!(announced.code, Some(0), "{announced:?}");
    let mut rows = announced.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<Value>>();
    rows.sort_by_key(|row| row["model"].to_string());
    let served = |row: &Value| (row["model"].clone(), row["worker"].clone(), row["labels"].clone());
    let expected = [("bird", 60), ("fashion-mnist", 11)].map(|(m, n)| (m.into(), "w1".into(), n.into()));
    assert_eq!(rows.iter().map(served).collect::<Vec<_>>(), expected, "{announced:?}");

    // Whoever watches it sees that it is ready and what it did.
    let get = |path| crate::http::get(worker.http(), path);
    assert_eq!(get("/livez").0, 200);
    assert_eq!(get("/readyz").0, 200);
    let (code, metrics) = get("/metrics");
    assert_eq!(code, 200);
    let success =
        metrics.lines().filter(|l| l.starts_with("nv_inference_request_success{")).collect::<Vec<_>>();
    assert_eq!(success.len(), 2, "{metrics}");
    assert!(success.iter().all(|line| !line.ends_with(" 0")), "{metrics}");
}

/// The worker and `model predict` take the same way from a file to an answer: each label, and each refusal word for word.
fn awkward_files_are_answered_as_the_command_line_answers_them(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", &[]);
    let entries = std::fs::read_dir(paths::root().join("model/core/tests/fixtures")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path().display().to_string());
    let files = files.filter(|file| !file.ends_with(".md")).collect::<Vec<_>>();
    assert!(files.len() > 20, "{files:?}");
    // By file: the first label and how sure it is, or why there is none.
    let answers = |stdout: &str| {
        let answer = |line: &str| {
            let answer: Value = serde_json::from_str(line).unwrap();
            let (error, first) = (&answer["error"], &answer["predictions"][0]);
            // Of a picture of nothing no class has any probability at all; a net's have some.
            let blank = Value::from(answer["predictions"][1]["probability"] == 0.0);
            let told = [&error["code"], &error["message"], &first["label"], &first["index"], &blank]
                .map(Value::clone);
            (answer["file"].to_string(), (told, first["probability"].as_f64().unwrap_or(0.0)))
        };
        stdout.lines().map(answer).collect::<BTreeMap<_, _>>()
    };
    for (model, nothing) in [("bird", 0), ("fashion-mnist", 3)] {
        let mut arguments = vec!["send", "--wait", "--json", "--model", model];
        arguments.extend(files.iter().map(String::as_str));
        let sent = scene.client(&arguments);
        assert_eq!(sent.code, Some(5), "some are refused: {sent:?}");
        let mut command = scene.command("model");
        command.args(["predict", "--json", "--model", model]).args(&files);
        let predicted = Process::run("model", command, PATIENCE);
        assert_eq!(predicted.code, Some(5), "some are refused: {predicted:?}");

        let (sent, predicted) = (answers(&sent.stdout), answers(&predicted.stdout));
        assert_eq!((sent.len(), predicted.len()), (files.len(), files.len()));
        for (file, (expected, sure)) in &predicted {
            let (found, as_sure) = &sent[file];
            assert_eq!(found, expected, "{file} by {model}");
            assert!((sure - as_sure).abs() < 1e-3, "{file} by {model}: {as_sure}, not {sure}");
        }
        let blank = predicted.values().filter(|([.., blank], _)| *blank == true).count();
        assert_eq!(blank, nothing, "a picture of nothing is among them for {model}");
    }
}

/// Hundreds of callers over one client, and each gets the answer to its own image.
fn many_callers_share_one_connection(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", crate::FASHION_ONLY);
    let mut config = client::ClientConfig::new(scene.bootstrap_servers.clone());
    config.topics = scene.topics.clone();
    config.timeout = PATIENCE;
    let samples = clothes();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client::Client::connect(config).await.unwrap();
        let mut callers = tokio::task::JoinSet::new();
        for i in 0..300 {
            let (client, sample) = (client.clone(), samples[i % samples.len()].clone());
            callers.spawn(async move {
                let options =
                    client::Options::model("fashion-mnist").top_k(1).format(wire::Encoding::ALL[i % 3]);
                let response = client.predict(sample.bytes, options).await.unwrap();
                let wire::Outcome::Success(success) = response.outcome else { panic!("{response:?}") };
                assert_eq!(success.predictions.len(), 1);
                assert_eq!(success.predictions[0].label, sample.label);
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        assert_eq!(client.open_requests(), 0);
    });
}
