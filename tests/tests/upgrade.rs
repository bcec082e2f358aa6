//! Rolling upgrades: the executables of an earlier commit beside those of today, on one real Kafka. Not part of `make test`, since
//! it builds that commit first: `cargo test -p e2e upgrade -- --ignored`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
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

/// The last commit before error codes were open, before `ce_timeoutms`, and before other versions were refused.
const OLD: &str = "870e4e0";

/// The earlier commit's checkout and the folder with its executables, in `target/old`.
struct Old {
    checkout: PathBuf,
    executables: PathBuf,
}

/// Checked out and built once; minutes the first time.
fn old() -> &'static Old {
    static OLD_BUILD: OnceLock<Old> = OnceLock::new();
    OLD_BUILD.get_or_init(|| {
        let folder = paths::target_dir().join("old");
        let checkout = folder.join("checkout");
        if !checkout.join("Cargo.toml").is_file() {
            let mut git = Command::new("git");
            git.current_dir(paths::root()).args(["worktree", "add", "--force", "--detach"]);
            succeed(git.arg(&checkout).arg(OLD), "this needs the whole history: git fetch --unshallow");
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(&checkout)
            .env("LIBTORCH", paths::root().join(".deps/libtorch"))
            .args(["build", "--quiet", "--locked", "--workspace", "--bins", "--target-dir"])
            .arg(folder.join("target"));
        succeed(&mut cargo, "the earlier commit does not build");
        Old { checkout, executables: folder.join("target/debug") }
    })
}

fn succeed(command: &mut Command, otherwise: &str) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}: {otherwise}");
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
#[ignore = "builds an earlier commit: make test-more"]
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
#[ignore = "builds an earlier commit: make test-more"]
fn this_client_is_served_by_an_earlier_worker() {
    let scene = Scene::on(Kind::Kafka);
    let _worker = old_worker(&scene, "old");
    is_served(|arguments| scene.client(arguments));
}

/// The group before an upgrade, in its middle and behind it: the earlier worker, both, this one alone.
#[test]
#[ignore = "builds an earlier commit: make test-more"]
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
