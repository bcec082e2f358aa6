//! What the executable is configured by, and the order in which that goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use std::path::Path;
use std::process::Command;

use support::program::{assert_code, at, client, folder, run, text};
use support::{Responder, broker};

/// What `--check-config` prints.
fn shown(command: &mut Command) -> serde_yaml::Value {
    let output = run(command.env("MLAAS_CLIENT_CHECK_CONFIG", "1"));
    assert_code(&output, 0);
    serde_yaml::from_slice(&output.stdout).unwrap()
}

fn users_own(dir: &Path, text: &str) {
    std::fs::create_dir_all(dir.join("config/mlaas")).unwrap();
    std::fs::write(dir.join("config/mlaas/client.yaml"), text).unwrap();
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let dir = folder(0);
    let model = |command: &mut Command| shown(command)["model"].as_str().unwrap_or("none").to_owned();
    assert_eq!(model(&mut client(dir.path())), "none");
    users_own(dir.path(), "model: of-the-users-file\ntop_k: 3\n");
    assert_eq!(model(&mut client(dir.path())), "of-the-users-file");
    std::fs::write(dir.path().join("named.yaml"), "model: of-a-named-file\n").unwrap();
    let mut named = client(dir.path());
    named.args(["--config", "named.yaml"]);
    assert_eq!(model(&mut named), "of-a-named-file");
    assert!(shown(&mut named)["top_k"].is_null(), "a named file stands in the place of the user's own");
    let with = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = client(dir.path());
        command.envs(variables.iter().copied()).args(flags);
        command
    };
    let set = ("MLAAS_CLIENT_SET", "model=of-a-pair");
    assert_eq!(model(&mut with(&[set], &[])), "of-a-pair");
    assert_eq!(model(&mut with(&[set], &["--set", "model=of-a-flag"])), "of-a-flag");
    let config = shown(&mut with(
        &[
            ("MLAAS_CLIENT_KAFKA__SASL_USERNAME", "0815"),
            ("MLAAS_CLIENT_KAFKA__CONSUMER__FETCH_WAIT_MAX_MS", "7"),
            ("MLAAS_CLIENT_TOPICS__REQUESTS", "elsewhere"),
            ("KAFKA_BOOTSTRAP_SERVERS", "h:1"),
        ],
        &["--connect-timeout", "3s"],
    ));
    assert_eq!(config["kafka"]["sasl_username"], "0815");
    assert_eq!(config["kafka"]["consumer"]["fetch.wait.max.ms"], "7");
    assert_eq!(config["topics"]["requests"], "elsewhere");
    assert_eq!(config["kafka"]["bootstrap_servers"], "h:1");
    assert_eq!(config["connect_timeout"], "3s");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let (broker, dir) = (broker(1), folder(1));
    let _responder = Responder::echo(&broker);
    let mut send = at(&broker, dir.path(), &["send", "--wait", "images"]);
    for name in [
        "CONFIG",
        "MODEL",
        "TIMEOUT",
        "DEADLINE",
        "TOP_K",
        "FORMAT",
        "COLOR",
        "SET",
        "QUIET",
        "KAFKA__SASL_USERNAME",
    ] {
        send.env(format!("MLAAS_CLIENT_{name}"), "");
    }
    assert_code(&run(&mut send), 0);
    let mut send = client(dir.path());
    send.env("KAFKA_BOOTSTRAP_SERVERS", "").args(["send", "images"]);
    let output = run(&mut send);
    assert_code(&output, 2);
    let said = text(&output.stderr);
    assert!(
        said.contains("start `worker`") && said.contains(dir.path().join("run").to_str().unwrap()),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_named_by_where_it_stands() {
    let dir = folder(1);
    type Case = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 9] = [
        (&["--set", "modle=x"], &[], "--set modle: "),
        (&["--set", "kafka.common.no.such.key=1"], &[], "no.such.key"),
        (&[], &[("MLAAS_CLIENT_KAFKA__NO_SUCH_KEY", "1")], "MLAAS_CLIENT_KAFKA__NO_SUCH_KEY: "),
        (&[], &[("MLAAS_CLIENT_CONNECT_TIMEOUT", "soon")], "soon"),
        (&["--connect-timeout", "0s"], &[], "more than 0"),
        (&["send", "x", "--timeout", "0s"], &[], "more than 0"),
        (&["send", "x", "--deadline", "0ms"], &[], "more than 0"),
        (&["--set", "timeout=0s"], &[], "timeout is 0"),
        (&["--color", "sometimes"], &[], "sometimes"),
    ];
    for (flags, variables, said) in cases {
        let mut command = client(dir.path());
        let output = run(command.args(flags).envs(variables.iter().copied()).arg("--check-config"));
        assert_code(&output, 2);
        assert!(text(&output.stderr).contains(said), "{flags:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    users_own(dir.path(), "model: a\ntimout: 3s\n");
    let output = run(client(dir.path()).args(["models"]));
    assert_code(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("mlaas/client.yaml") && said.contains("line 2"), "{said}");
    let output = run(client(dir.path()).env("XDG_CONFIG_HOME", "").env("HOME", ""));
    assert_code(&output, 2);
    assert!(text(&output.stderr).contains("send, listen or models"), "{}", text(&output.stderr));
}

#[test]
fn settings_that_do_not_go_together_are_configuration_too() {
    let (broker, dir) = (broker(1), folder(1));
    let together = ["--set", "kafka.producer={linger.ms: '900000'}", "send", "images"];
    let output = run(&mut at(&broker, dir.path(), &together));
    assert_code(&output, 2);
    assert!(text(&output.stderr).contains("linger.ms"), "{}", text(&output.stderr));
}

#[test]
fn secrets_do_not_show() {
    let dir = folder(0);
    let output = run(client(dir.path()).env("MLAAS_CLIENT_KAFKA__SASL_PASSWORD", "hunter2").args([
        "--set",
        "kafka.common.ssl.key.password=hunter3",
        "--check-config",
    ]));
    assert_code(&output, 0);
    let shown = text(&output.stdout);
    assert!(!shown.contains("hunter") && shown.matches("[redacted]").count() == 2, "{shown}");
}

#[test]
fn absurd_times_are_no_limit() {
    let (broker, dir) = (broker(1), folder(1));
    let _responder = Responder::echo(&broker);
    let time = "500000years";
    let args = ["send", "--wait", "images", "--timeout", time, "--deadline", time, "--connect-timeout", time];
    let output = run(&mut at(&broker, dir.path(), &args));
    assert_code(&output, 0);
}

#[test]
fn quiet_is_quiet() {
    let (broker, dir) = (broker(1), folder(2));
    let _responder = Responder::echo(&broker);
    let output = run(&mut at(&broker, dir.path(), &["send", "--wait", "--quiet", "images"]));
    assert_code(&output, 0);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);
}
