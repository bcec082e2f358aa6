//! Rolling upgrades: the executables of an earlier commit beside those of today, on one real Kafka. Not part of `make test`, since
//! that commit has to be built first, which `make test-more` does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::PATIENCE;
use e2e::images::{Sample, clothes};
use e2e::paths;
use e2e::process::{Finished, Process};
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::Stream;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::FASHION_ONLY;

/// The earlier commit's files and the folder with its executables, which `make test-more` makes (`xtask/src/earlier.rs`).
struct Old {
    checkout: PathBuf,
    executables: PathBuf,
}

fn old() -> Old {
    let folder = paths::target_dir().join("earlier");
    let old = Old { checkout: folder.join("checkout"), executables: folder.join("target/debug") };
    for name in ["worker", "client"] {
        let executable = old.executables.join(name);
        assert!(executable.is_file(), "{} is missing: make test-more builds it", executable.display());
    }
    old
}

/// The same command with the earlier executable of that name, on the weights that went with it.
fn earlier(command: &Command, name: &str) -> Command {
    let old = old();
    let mut earlier = Command::new(old.executables.join(name));
    let ours = paths::weights();
    let arguments = command.get_args().map(|argument| {
        if Path::new(argument) == ours {
            old.checkout.join("weights").into_os_string()
        } else {
            argument.to_owned()
        }
    });
    earlier.args(arguments).env_clear();
    earlier.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    earlier.current_dir(paths::root());
    earlier
}

fn old_worker(scene: &Scene, name: &str) -> Worker {
    Worker::start(name, earlier(&scene.worker_command(name, FASHION_ONLY), "worker"))
}

fn old_client(scene: &Scene, arguments: &[&str]) -> Finished {
    Process::run("earlier client", earlier(&scene.client_command(arguments), "client"), PATIENCE)
}

/// Each format, each sample, and an error that both know.
fn is_served(run: impl Fn(&[&str]) -> Finished) {
    let samples = clothes();
    for format in ["bincode", "json", "raw"] {
        let mut arguments = vec!["send", "--wait", "--json", "--format", format];
        let files = samples.iter().map(|s| s.path.display().to_string()).collect::<Vec<_>>();
        arguments.extend(files.iter().map(String::as_str));
        let sent = run(&arguments);
        assert_eq!(sent.code, Some(0), "{format}: {sent:?}");
        let results = sent.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<Value>>();
        assert_eq!(results.len(), samples.len(), "{format}");
        for Sample { path, label, .. } in &samples {
            let result = results.iter().find(|r| r["file"] == path.display().to_string().as_str()).unwrap();
            assert_eq!(result["predictions"][0]["label"], label.as_str(), "{format}: {result}");
        }
    }
    let file = samples[0].path.display().to_string();
    let refused = run(&["send", "--wait", "--json", "--model", "cat", &file]);
    let error: Value = serde_json::from_str(refused.stdout.trim()).unwrap();
    assert_eq!(error["error"]["code"], "NOT_FOUND", "{refused:?}");
    let models = run(&["models", "--json"]);
    assert!(models.code == Some(0) && models.stdout.contains("\"fashion-mnist\""), "{models:?}");
}

#[test]
#[ignore = "wants an earlier commit, built: make test-more"]
fn an_earlier_client_is_served_by_this_worker() {
    let scene = Scene::on(Kind::Kafka);
    let _worker =
        scene.worker("new", &[FASHION_ONLY, &["--set", "limits.max_request_bytes=100000"]].concat());
    is_served(|arguments| old_client(&scene, arguments));

    // A code that it does not know ends its waiting with an error at once, not with silence.
    let large = scene.folder.join("large.png");
    std::fs::write(&large, vec![0xff; 200_000]).unwrap();
    let refused = old_client(&scene, &["send", "--wait", "--format", "json", &large.display().to_string()]);
    assert!(refused.code != Some(0) && refused.stdout.contains("OUT_OF_RANGE"), "{refused:?}");
}

#[test]
#[ignore = "wants an earlier commit, built: make test-more"]
fn this_client_is_served_by_an_earlier_worker() {
    let scene = Scene::on(Kind::Kafka);
    let _worker = old_worker(&scene, "old");
    is_served(|arguments| scene.client(arguments));
}

/// The group before an upgrade, in its middle and behind it: the earlier worker, both, this one alone.
#[test]
#[ignore = "wants an earlier commit, built: make test-more"]
fn a_group_is_upgraded_worker_by_worker() {
    let scene = Scene::on(Kind::Kafka);
    let mut old = old_worker(&scene, "old");
    let mut stream = Stream::new(&scene);
    stream.flow_until("300 answers from the earlier one", |s| s.answered_by("old") >= 300);
    let _new = scene.worker("new", FASHION_ONLY);
    stream.flow_until("300 answers from this one", |s| s.answered_by("new") >= 300);
    let from = stream.answered_by("old");
    stream.flow_until("100 more from the earlier one", |s| s.answered_by("old") >= from + 100);
    old.process.signal(Signal::SIGTERM);
    stream.flow_until("the end of the earlier one", |_| !old.process.is_running());
    assert_eq!(old.process.wait(Duration::from_secs(1)).code(), Some(0));
    let from = stream.answered_by("new");
    stream.flow_until("500 more from the one that is left", |s| s.answered_by("new") >= from + 500);
    stream.settle().assert_whole(0);
}
