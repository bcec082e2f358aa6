//! Odd files, odd names, a pipe that nobody reads, and clusters that are there only in part: what the executable makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use std::ffi::OsStr;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;

use kafka::{EmbeddedBroker, Topics};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use support::program::{Listening, assert_code, at, client, folder, objects, output_of, run, text};
use support::{PATIENCE, Responder, broker, closed_port, wait_until};

/// Answers none, and says of each request that it came.
fn watched(broker: &EmbeddedBroker, answer: bool) -> (Responder, mpsc::Receiver<()>) {
    let (seen, asked) = mpsc::channel();
    let responder = Responder::start(broker, move |received| {
        let Some(received) = received else { return Vec::new() };
        seen.send(()).ok();
        let response = received.success();
        if answer { vec![(received, vec![response])] } else { Vec::new() }
    });
    (responder, asked)
}

fn interrupt(child: &Child) {
    kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
}

/// Its exit code and what it said on stderr, within the limit.
fn ended(mut child: Child) -> (Option<i32>, String) {
    wait_until("it ends", || child.try_wait().unwrap().is_some());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn what_can_not_be_read_is_said_and_the_rest_is_sent() {
    let (broker, dir) = (broker(1), folder(2));
    let _responder = Responder::echo(&broker);
    std::os::unix::fs::symlink("gone", dir.path().join("images/0000a.png")).unwrap();
    std::fs::write(dir.path().join(OsStr::from_bytes(b"images/caf\xe9.png")), "odd").unwrap();
    std::fs::write(dir.path().join("images/red\u{1b}[31m\n.png"), "steering").unwrap();
    let large = std::fs::File::create(dir.path().join("images/large.png")).unwrap();
    large.set_len(1 << 30).unwrap();
    let output = run(&mut at(&broker, dir.path(), &["send", "--wait", "--json", "images"]));
    assert_code(&output, 1);
    let mut told: Vec<_> = objects(&output)
        .iter()
        .map(|o| (o["file"].as_str().unwrap().to_owned(), o["label"].as_str().unwrap_or_default().to_owned()))
        .collect();
    told.sort();
    let expected = [
        ("images/0000.png", "image 0000"),
        ("images/0000a.png", ""),
        ("images/0001.png", "image 0001"),
        ("images/caf\\xE9.png", "odd"),
        ("images/large.png", ""),
        ("images/red\u{1b}[31m\n.png", "steering"),
    ];
    assert_eq!(told, expected.map(|(f, l)| (f.to_owned(), l.to_owned())));
    assert!(text(&output.stdout).contains("1073741824"), "its own size: {}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "4 answered, 0 errors, 0 unanswered, 2 not sent\n");

    let output = run(&mut at(&broker, dir.path(), &["send", "--wait", "images"]));
    assert_code(&output, 1);
    let shown = text(&output.stdout);
    assert!(shown.contains("red\\u{1b}[31m\\n.png") && !shown.contains('\u{1b}'), "{shown}");
    assert_eq!(shown.lines().count(), 6);
}

#[test]
fn names_come_from_a_list() {
    let (broker, dir) = (broker(1), folder(3));
    let _responder = Responder::echo(&broker);
    let listed = |args: &[&str], list: &[u8]| {
        let mut child = at(&broker, dir.path(), &["send", "--wait", "--json", "--files-from", "-"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(list).unwrap();
        let output = output_of(child);
        let files =
            objects(&output).iter().map(|o| o["file"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        (files.len(), output.status.code())
    };
    assert_eq!(listed(&[], b"images/0000.png\nimages/0002.png\n"), (2, Some(0)));
    assert_eq!(listed(&["-0"], b"images/0000.png\0images\0"), (4, Some(0)));
    assert_eq!(listed(&["images"], b"none.png\n"), (4, Some(1)), "one that is not there is one line");
    assert_eq!(listed(&[], b""), (0, Some(2)));
    assert_eq!(listed(&["-"], b"x"), (0, Some(2)), "there is one standard input");
}

#[test]
fn control_c_is_heard_while_nobody_reads_the_output() {
    let (broker, dir) = (broker(1), folder(3));
    let (_responder, asked) = watched(&broker, true);
    // A pipe that is full before the first line.
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let full = loop {
        if let Err(error) = writer.write(&[b'x'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let mut command = at(&broker, dir.path(), &["send", "--wait", "images"]);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..3 {
        asked.recv_timeout(PATIENCE).unwrap();
    }
    // Its main thread waits, and one of its others hangs in the pipe.
    let tasks = format!("/proc/{}/task", child.id());
    wait_until("it hangs", || {
        let state = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.unwrap().path().join("syscall")).unwrap_or_default()
        };
        // write(2) to stdout.
        std::fs::read_dir(&tasks).unwrap().any(|task| state(task).starts_with("1 0x1 "))
    });
    interrupt(&child);
    let (code, said) = ended(child);
    assert_eq!(code, Some(130));
    assert!(said.contains(" answered, ") && said.contains(" unanswered"), "{said}");
    drop(reader);
}

#[test]
fn after_control_c_it_is_said_what_became_of_them() {
    let (broker, dir) = (broker(1), folder(3));
    let (_responder, asked) = watched(&broker, false);
    let mut command = at(&broker, dir.path(), &["send", "--wait", "images"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..3 {
        asked.recv_timeout(PATIENCE).unwrap();
    }
    interrupt(&child);
    assert_eq!(ended(child), (Some(130), "0 answered, 0 errors, 3 unanswered\n".to_owned()));
}

#[test]
fn on_the_embedded_broker_a_file_has_one_line_also_where_nobody_answers() {
    let (broker, dir) = (broker(1), folder(2));
    let _responder = Responder::silent(&broker);
    let output = run(&mut at(&broker, dir.path(), &["send", "--json", "--set", "timeout=1s", "images"]));
    assert_code(&output, 4);
    assert_eq!(objects(&output).len(), 2);
    let said = text(&output.stderr);
    assert!(said.ends_with("0 sent, 2 unanswered\n"), "{said}");
}

#[test]
fn a_request_that_is_asked_for_by_its_id_is_found_though_it_is_past() {
    let (broker, dir) = (broker(2), folder(1));
    let _responder = Responder::echo(&broker);
    let sent = objects(&run(&mut at(&broker, dir.path(), &["send", "--json", "images"])));
    let id = sent[0]["request_id"].as_str().unwrap();
    let output =
        run(&mut at(&broker, dir.path(), &["listen", "--json", "--request-id", id, "--timeout", "30s"]));
    assert_code(&output, 0);
    assert_eq!(objects(&output)[0]["request_id"], id);
    for (args, said) in [
        (&["--request-id", "gone"][..], "no result came for gone"),
        (&["--from-beginning", "--count", "3"], "2 results did not come"),
    ] {
        let output = run(at(&broker, dir.path(), &["listen", "--json", "--timeout", "1s"]).args(args));
        assert_code(&output, 4);
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}

#[test]
fn what_is_typed_does_not_steer_the_terminal_that_is_told_of_it() {
    let dir = folder(0);
    let output = run(client(dir.path()).args(["send", "--wait", "no\u{1b}[31m.png"]));
    assert_code(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("no\\u{1b}[31m.png") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_file_of_certificates_that_can_not_be_used_is_a_configuration_error() {
    let (broker, dir) = (broker(1), folder(1));
    std::fs::write(dir.path().join("garbage.pem"), "no certificate").unwrap();
    for file in ["none.pem", "garbage.pem", "images/0000.png/below"] {
        let location = format!("kafka.ssl_ca_location={file}");
        // At once, not after the time that a broker is given, which is longer than any program may run here.
        let given = ["--connect-timeout", "1h", "--set", "kafka.security_protocol=ssl", "--set", &location];
        let args = [&given[..], &["send", "images"]].concat();
        let output = run(&mut at(&broker, dir.path(), &args));
        assert_code(&output, 2);
        let said = text(&output.stderr);
        assert!(said.contains("ssl") && said.lines().count() == 1, "{said}");
        assert!(file == "garbage.pem" || said.contains(file), "{said}");
    }
}

#[test]
fn a_partition_without_a_leader_is_named() {
    let (broker, dir) = (broker(2), folder(4));
    let Topics { requests, results, models, .. } = Topics::default();
    let quick = |args: &[&str]| {
        let output = run(at(&broker, dir.path(), &["--connect-timeout", "2s"]).args(args));
        (output.status.code(), text(&output.stderr).to_owned())
    };
    broker.leader(&results, 1, false).unwrap();
    let (code, said) = quick(&["listen"]);
    assert!(code == Some(3) && said.contains(&format!("{results} has no leader for partition 1")), "{said}");
    // The other partition is enough for answers.
    let responder = Responder::echo(&broker);
    assert_eq!(quick(&["send", "--wait", "images"]).0, Some(0));
    drop(responder);
    broker.leader(&results, 0, false).unwrap();
    let (code, said) = quick(&["send", "images"]);
    assert!(
        code == Some(3) && said.contains(&format!("{results} has no leader for partitions 0, 1")),
        "{said}"
    );
    broker.leader(&results, 0, true).unwrap();
    broker.leader(&requests, 0, false).unwrap();
    broker.leader(&requests, 1, false).unwrap();
    let (code, said) = quick(&["send", "images"]);
    assert!(code == Some(3) && said.contains(&requests), "{said}");
    broker.leader(&models, 0, false).unwrap();
    let (code, said) = quick(&["models"]);
    assert!(code == Some(3) && said.contains(&models), "{said}");
}

/// A bootstrap server that says that the cluster is where nobody listens: it passes all on to a broker, and changes the
/// port in what comes back.
fn misled(to: &str, instead: &str) -> String {
    let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u32>().unwrap();
    let said = |port: u32| [b"127.0.0.1".as_slice(), &port.to_be_bytes()].concat();
    let (before, after) = (said(port(to)), said(port(instead)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to) = (listener.local_addr().unwrap().to_string(), to.to_owned());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let broker = TcpStream::connect(&to).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut into).ok());
            let (before, after) = (before.clone(), after.clone());
            std::thread::spawn(move || {
                let (mut from, mut into, mut buffer) = (broker, client, vec![0; 1 << 16]);
                while let Ok(n @ 1..) = from.read(&mut buffer) {
                    let answer = &mut buffer[..n];
                    while let Some(at) = answer.windows(before.len()).position(|window| window == before) {
                        answer[at..at + after.len()].copy_from_slice(&after);
                    }
                    if into.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn advertised_addresses_that_can_not_be_reached_are_named() {
    let (broker, dir) = (broker(1), folder(1));
    let dead = closed_port();
    let address = misled(broker.bootstrap_servers(), &dead);
    for args in [&["send", "images"][..], &["listen"], &["models"]] {
        let output = run(client(dir.path())
            .args(["--bootstrap-servers", &address, "--connect-timeout", "3s"])
            .args(args));
        assert_code(&output, 3);
        let said = text(&output.stderr);
        assert!(
            said.contains(&dead)
                && said.contains(&address)
                && said.contains("advertised.listeners")
                && said.contains("refused"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_runtime_folder_that_is_not_ones_own_is_said_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder(1);
    let run_dir = dir.path().join("run");
    std::fs::create_dir(&run_dir).unwrap();
    let said = |path: &Path| {
        let output = run(client(dir.path()).env("MLAAS_RUNTIME_DIR", path).args(["send", "images"]));
        assert_code(&output, 2);
        text(&output.stderr).to_owned()
    };
    std::fs::set_permissions(&run_dir, std::fs::Permissions::from_mode(0o770)).unwrap();
    let group = said(&run_dir);
    assert!(
        group.contains("others may write") && group.contains("770") && group.contains("chmod"),
        "{group}"
    );
    std::fs::set_permissions(&run_dir, std::fs::Permissions::from_mode(0o700)).unwrap();
    let empty = said(&run_dir);
    assert!(empty.contains(run_dir.to_str().unwrap()), "it says where it looked: {empty}");
}

#[test]
fn listening_is_summed_up_too() {
    let (broker, dir) = (broker(1), folder(2));
    let _responder = Responder::echo(&broker);
    let listening = Listening::start(at(&broker, dir.path(), &["listen", "--count", "2"]));
    assert_code(&run(&mut at(&broker, dir.path(), &["send", "images"])), 0);
    let (code, said) = ended(listening.0);
    assert_eq!((code, said.as_str()), (Some(0), "2 answered, 0 errors, 0 unanswered\n"));
}
