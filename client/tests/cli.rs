//! The real executable against an embedded broker: what it prints, and how it exits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use kafka::{EmbeddedBroker, RuntimeDir, Topics};
use serde_json::Value;
use support::program::{Listening, assert_code, at, client, folder, objects, output_of, run, text};
use support::{Received, Responder, broker, closed_port, put};
use wire::{Announcement, ErrorCode};

/// Answers by the image's text: one that says so gets an error, one that says so gets none.
fn responder(broker: &EmbeddedBroker) -> Responder {
    Responder::start(broker, |received| {
        let answer = |r: &Received| match &r.request.image[..] {
            b"bad" => vec![r.error(ErrorCode::InvalidArgument, "not an image")],
            b"ignored" => vec![],
            _ => vec![r.success()],
        };
        received.map(|r| (answer(&r), r)).map(|(a, r)| (r, a)).into_iter().collect()
    })
}

#[test]
fn with_wait_each_answer_is_printed() {
    let (broker, dir) = (broker(4), folder(2));
    let _responder = responder(&broker);
    let output = run(&mut at(&broker, dir.path(), &["send", "--wait", "--json", "-k", "2", "images"]));
    assert_code(&output, 0);
    let mut answers = objects(&output);
    answers.sort_by_key(|a| a["file"].to_string());
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer["file"], format!("images/{n:04}.png"));
        assert_eq!(answer["status"], "success");
        assert_eq!(answer["label"], format!("image {n:04}"));
        assert_eq!(answer["probability"], 0.5);
        assert_eq!(answer["model"]["name"], "default");
        assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
        assert!(answer["latency_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(answer["request_id"].as_str().unwrap().len(), 36);
    }
    assert_eq!(text(&output.stderr), "2 answered, 0 errors, 0 unanswered\n");

    let output = run(&mut at(&broker, dir.path(), &["send", "-w", "images/0000.png"]));
    assert_code(&output, 0);
    let line = text(&output.stdout);
    for part in ["images/0000.png", "image 0000 50.0 %", "default v1", " ms"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn without_wait_each_request_id_is_printed_and_a_listener_sees_the_answers() {
    let (broker, dir) = (broker(4), folder(3));
    let _responder = responder(&broker);
    let mut listen = Listening::start(at(&broker, dir.path(), &["listen", "--json", "--count", "3"]));
    let output = run(&mut at(&broker, dir.path(), &["send", "--json", "images"]));
    assert_code(&output, 0);
    let sent = objects(&output);
    let files: Vec<_> = sent.iter().map(|s| s["file"].as_str().unwrap().to_owned()).collect();
    assert_eq!(files.len(), 3);
    assert!(sent.iter().all(|s| s.as_object().unwrap().len() == 2), "file and request_id: {sent:?}");
    let (answers, code) = listen.finish();
    assert_eq!(code, Some(0));
    let ids =
        |all: &[Value]| -> BTreeSet<String> { all.iter().map(|v| v["request_id"].to_string()).collect() };
    let answers: Vec<Value> = answers.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(ids(&answers), ids(&sent));
    assert_eq!(ids(&sent).len(), 3);

    let output = run(&mut at(&broker, dir.path(), &["send", "images/0000.png"]));
    let line = text(&output.stdout);
    let (id, file) = line.trim_end().split_once("  ").unwrap();
    assert_eq!((id.len(), file), (36, "images/0000.png"));
}

/// Ten times what the embedded broker holds of one partition, through a window of 2 MiB.
#[test]
fn a_folder_larger_than_the_embedded_broker_is_answered_to_the_last_image() {
    let (broker, dir) = (broker(1), folder(500));
    for n in 0..500 {
        let mut image = format!("image {n:04} ").into_bytes();
        image.resize(100_000, b'x');
        std::fs::write(dir.path().join(format!("images/{n:04}.png")), image).unwrap();
    }
    let mut held = Vec::new();
    // Slow to begin: whatever is sent without waiting piles up.
    let _responder = Responder::start(&broker, move |received| match received {
        Some(received) => {
            held.push(received);
            Vec::new()
        }
        None => held.drain(..).map(|r| (r.success(), r)).map(|(a, r)| (r, vec![a])).collect(),
    });
    for wait in [&["--wait"][..], &[]] {
        let args = [&["send", "--json", "images"][..], wait].concat();
        let output = run(&mut at(&broker, dir.path(), &args));
        assert_code(&output, 0);
        let files: BTreeSet<String> = objects(&output).iter().map(|o| o["file"].to_string()).collect();
        assert_eq!(files.len(), 500);
    }
}

#[test]
fn the_embedded_broker_is_found_without_a_flag() {
    let dir = folder(1);
    let mut broker = broker(4);
    broker.publish_in(&RuntimeDir::at(dir.path().join("run"))).unwrap();
    let _responder = responder(&broker);
    let output = run(client(dir.path()).args(["send", "--wait", "images/0000.png"]));
    assert_code(&output, 0);
    drop(broker);
    let output = run(client(dir.path()).args(["send", "images/0000.png"]));
    assert_code(&output, 2);
    assert!(text(&output.stderr).contains("start `worker`"), "{}", text(&output.stderr));
}

#[test]
fn one_image_comes_from_standard_input() {
    let (broker, dir) = (broker(1), folder(0));
    let _responder = responder(&broker);
    let mut child = at(&broker, dir.path(), &["send", "--wait", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    let output = output_of(child);
    assert_code(&output, 0);
    let answer = &objects(&output)[0];
    assert_eq!((answer["file"].as_str(), answer["label"].as_str()), (Some("-"), Some("from a pipe")));
}

#[test]
fn exit_codes_tell_errors_timeouts_and_what_was_not_sent_apart() {
    let (broker, dir) = (broker(2), folder(1));
    let _responder = responder(&broker);
    for (name, text) in [("bad", "bad"), ("ignored", "ignored")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::write(dir.path().join("large"), vec![0; 3_000_000]).unwrap();
    let good = "images/0000.png";
    for (files, timeout, code) in [
        (&[good, "bad"][..], "60s", 5),
        (&[good, "large"], "60s", 1),
        (&[good, "bad", "large"], "60s", 5),
        // It is waited for in vain, and the others are answered meanwhile.
        (&[good, "ignored", "bad", "large"], "5s", 4),
        (&[good], "60s", 0),
    ] {
        let args = [&["send", "--wait", "--json", "--timeout", timeout][..], files].concat();
        let output = run(&mut at(&broker, dir.path(), &args));
        assert_code(&output, code);
        let answers = objects(&output);
        assert_eq!(answers.len(), files.len(), "each has its line");
        for answer in answers {
            let expected = match answer["file"].as_str().unwrap() {
                "ignored" => "DEADLINE_EXCEEDED",
                "images/0000.png" => "",
                "large" => "OUT_OF_RANGE",
                _ => "INVALID_ARGUMENT",
            };
            assert_eq!(answer["error"]["code"].as_str().unwrap_or_default(), expected, "{answer}");
        }
    }
}

#[test]
fn an_unreachable_broker_is_said_in_one_sentence_that_names_it() {
    let dir = folder(1);
    let address = closed_port();
    for args in [&["send", "images"][..], &["listen"], &["models"]] {
        let output = run(client(dir.path()).args(["--bootstrap-servers", &address]).args(args));
        assert_code(&output, 3);
        let said = text(&output.stderr);
        assert!(said.contains(&address) && said.contains("within 6 s"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn usage_errors_are_said_before_anything_is_sent() {
    let (broker, dir) = (broker(1), folder(1));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::write(dir.path().join("wrong.yaml"), "model: bird\ntimout: 3s\n").unwrap();
    for (args, said) in [
        (&["send"][..], "FILE"),
        (&["send", "images", "none.png"], "none.png"),
        (&["send", "empty"], "empty"),
        (&["send", "images", "--format", "xml"], "xml"),
        (&["send", "images", "--timeout", "soon"], "soon"),
        (&["send", "images", "-k", "0"], "0"),
        (&["listen", "--count", "0"], "0"),
        (&["--config", "wrong.yaml", "send", "images"], "line 2"),
        (&["--config", "none.yaml", "send", "images"], "none.yaml"),
    ] {
        let output = run(&mut at(&broker, dir.path(), args));
        assert_code(&output, 2);
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn flags_go_before_environment_before_file_before_default() {
    let (broker, dir) = (broker(1), folder(1));
    let _responder = responder(&broker);
    std::fs::write(dir.path().join("c.yaml"), "model: of-file\ntop_k: 3\n").unwrap();
    let model = |command: &mut Command| {
        let output = run(command);
        assert_code(&output, 0);
        let answer = objects(&output).remove(0);
        (
            answer["model"]["name"].as_str().unwrap().to_owned(),
            answer["predictions"].as_array().unwrap().len(),
        )
    };
    let send = || at(&broker, dir.path(), &["send", "--wait", "--json", "images"]);
    assert_eq!(model(&mut send()), ("default".to_owned(), 1));
    assert_eq!(model(send().args(["--config", "c.yaml"])), ("of-file".to_owned(), 3));
    let mut with_env = send();
    with_env.env("MLAAS_CLIENT_CONFIG", "c.yaml").env("MLAAS_CLIENT_MODEL", "of-environment");
    assert_eq!(model(&mut with_env), ("of-environment".to_owned(), 3));
    assert_eq!(model(with_env.args(["--model", "of-flag", "--top-k", "4"])), ("of-flag".to_owned(), 4));

    // The broker's address too: the file's is dead, the environment's lives.
    std::fs::write(
        dir.path().join("dead.yaml"),
        format!("kafka: {{bootstrap_servers: '{}'}}", closed_port()),
    )
    .unwrap();
    assert_code(&run(send().args(["--config", "dead.yaml"])), 0);
    let output =
        run(client(dir.path()).args(["--config", "dead.yaml", "--connect-timeout", "1s", "send", "images"]));
    assert_code(&output, 3);
}

#[test]
fn listen_shows_what_is_asked_for() {
    let (broker, dir) = (broker(4), folder(3));
    let _responder = responder(&broker);
    std::fs::write(dir.path().join("bad"), "bad").unwrap();
    let output = run(&mut at(&broker, dir.path(), &["send", "--json", "images", "bad"]));
    assert_code(&output, 0);
    let sent = objects(&output);
    let id = |file: &str| {
        let found = sent.iter().find(|s| s["file"].as_str().unwrap().ends_with(file)).unwrap();
        found["request_id"].as_str().unwrap().to_owned()
    };
    let listen = |args: &[&str]| {
        let output = run(at(&broker, dir.path(), &["listen", "--json", "--from-beginning"]).args(args));
        let shown: BTreeSet<String> =
            objects(&output).iter().map(|o| o["request_id"].as_str().unwrap().to_owned()).collect();
        (shown, output.status.code())
    };
    // Each that was asked for was seen, so it ends by itself.
    let (zero, two, bad) = (id("0000.png"), id("0002.png"), id("bad"));
    let both: BTreeSet<_> = [zero.clone(), two.clone()].into();
    assert_eq!(listen(&["--request-id", &zero, "--request-id", &two]), (both.clone(), Some(0)));
    assert_eq!(listen(&["--request-id", &format!("{zero},{two}")]), (both, Some(0)));
    assert_eq!(listen(&["--request-id", &bad]), ([bad].into(), Some(5)), "answered with an error");
    assert_eq!(listen(&["--count", "4"]).0.len(), 4);
    // In vain is a timeout; for a while is none.
    assert_eq!(listen(&["--request-id", "unknown", "--timeout", "500ms"]), (BTreeSet::new(), Some(4)));
    assert_eq!(listen(&["--count", "9", "--timeout", "500ms"]).1, Some(4));
    let (shown, code) = listen(&["--timeout", "5s"]);
    assert_eq!((shown.len(), code), (4, Some(5)));
    // Without --from-beginning what is past is past.
    let output = run(&mut at(&broker, dir.path(), &["listen", "--timeout", "300ms"]));
    assert_code(&output, 0);
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).starts_with("listening on predict.results (4 partitions)"));
}

#[test]
fn models_shows_what_is_announced_and_still_holds() {
    let (broker, dir) = (broker(4), folder(0));
    let topic = Topics::default().models;
    let announce = |worker: &str, age: i64, taken_back: bool| {
        let announcement = Announcement {
            worker: worker.to_owned(),
            requests_topic: "predict.requests".to_owned(),
            model: "bird".to_owned(),
            version: 1,
            digest: format!("sha256:{}", "0".repeat(64)),
            architecture: "efficientnet_lite0".to_owned(),
            labels: 59,
            default: true,
            loading: false,
            memory_bytes: None,
            traffic_percent: None,
            shadow_percent: None,
            announced_at: Timestamp::now() - SignedDuration::from_secs(age),
            ttl_s: 30,
            skipped: Vec::new(),
        };
        let value = announcement.encode();
        let partition = i32::from(worker.as_bytes()[0] % 4);
        put(&broker, &topic, partition, &announcement.key(), (!taken_back).then_some(&value[..]));
    };
    let output = run(&mut at(&broker, dir.path(), &["models", "--json"]));
    assert_code(&output, 0);
    assert!(output.stdout.is_empty(), "nothing is announced");

    announce("a-lives", 0, false);
    announce("b-died", 31, false);
    announce("c-ended", 0, false);
    announce("c-ended", 0, true);
    announce("d-came-back", 0, true);
    announce("d-came-back", 0, false);
    put(&broker, &topic, 0, "k", Some(b"not an announcement"));
    let output = run(&mut at(&broker, dir.path(), &["models", "--json"]));
    assert_code(&output, 0);
    let workers: Vec<_> = objects(&output).iter().map(|o| o["worker"].as_str().unwrap().to_owned()).collect();
    assert_eq!(workers, ["a-lives", "d-came-back"]);
    let output = run(&mut at(&broker, dir.path(), &["models"]));
    let table = text(&output.stdout);
    assert!(table.contains("bird") && table.contains("a-lives") && !table.contains("b-died"), "{table}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (broker, dir) = (broker(1), folder(50));
    let _responder = responder(&broker);
    for args in [&["send", "--wait", "images"][..], &["completions", "bash"], &["listen", "--from-beginning"]]
    {
        let mut child =
            at(&broker, dir.path(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = output_of(child);
        assert_code(&output, 0);
        let said = text(&output.stderr);
        assert!(!said.contains("panicked") && !said.contains("client:"), "{said}");
    }
}

#[test]
fn control_c_ends_it_with_130() {
    let (broker, dir) = (broker(1), folder(0));
    let listening = Listening::start(at(&broker, dir.path(), &["listen"]));
    let pid = nix::unistd::Pid::from_raw(listening.0.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_code(&output_of(listening.0), 130);
}

#[test]
fn help_documents_the_exit_codes_and_completions_are_printed() {
    let dir = folder(0);
    let output = run(client(dir.path()).arg("--help"));
    assert_code(&output, 0);
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130"] {
        assert!(text(&output.stdout).contains(&format!("\n  {code}")), "{code}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = run(client(dir.path()).args(["completions", shell]));
        assert_code(&output, 0);
        assert!(text(&output.stdout).contains("client"));
    }
}
