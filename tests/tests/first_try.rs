//! The first try: no Kafka, no flags. `worker` starts its embedded broker and everybody finds it.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::PATIENCE;
use e2e::images::noise_bmp;
use e2e::page::{self, Typed};
use e2e::paths::sample;
use e2e::process::Process;
use e2e::scene::{Scene, Worker};
use e2e::traffic::{Record, Sender};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A command of the README, as it is typed there.
fn typed(scene: &Scene, Typed { program, arguments }: &Typed) -> std::process::Command {
    let mut command = scene.command(program);
    command.args(arguments);
    command
}

/// The three commands of the README, and then those of its table.
#[test]
fn three_terminals_without_a_flag_and_what_comes_next() {
    let (terminals, next) = page::readme();
    let [start, listen, send] = &terminals[..] else { panic!("not three: {terminals:?}") };
    let scene = Scene::without_broker();
    let mut worker = Process::spawn("worker", typed(&scene, start));
    let ready =
        worker.wait_for_line("its ready line", PATIENCE, |l| l.starts_with("ready").then(|| l.to_owned()));
    assert!(ready.contains("embedded"), "{ready}");
    assert!(worker.stderr.text().contains("development"), "it says what the embedded broker is for");

    let mut listen = Process::spawn("client listen", typed(&scene, listen));
    e2e::wait_until("client listen to listen", PATIENCE, || {
        listen.stderr.find(|l| l.contains("listening").then_some(())).ok_or_else(|| "not yet".to_owned())
    });

    let sent = Process::run("client send", typed(&scene, send), PATIENCE);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let id = sent.stdout.split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(id.len(), 36, "{sent:?}");

    let line = listen.wait_for_line("the answer", PATIENCE, |l| l.contains("Sandal").then(|| l.to_owned()));
    assert!(line.contains(&id), "{line} is not of {id}");
    listen.signal(Signal::SIGINT);
    assert_eq!(listen.wait(PATIENCE).code(), Some(130));

    // All of the table, but for what takes minutes, sets something up or wants files of the reader's own: see below, and
    // model/tests for the import, the integers and the benchmark.
    let (others, next): (Vec<_>, Vec<_>) = next.into_iter().partition(|of| {
        let has = |word: &&str| of.arguments.iter().any(|argument| argument == word);
        of.program == "make"
            || of.arguments.is_empty()
            || ["train", "import", "quantize", "benchmark", "mine", "review.enabled=true"].iter().any(has)
    });
    assert_eq!((others.len(), next.len()), (14, 10), "{others:?} {next:?}");
    for mut command in next {
        for folder in command.arguments.iter_mut().filter(|argument| *argument == "photos/") {
            "data/samples/".clone_into(folder);
        }
        // It goes on for as long as somebody looks.
        if command.arguments == ["top"] {
            command.arguments.push("--once".to_owned());
        }
        // What one of them writes is no file of the checkout.
        let mut typed = typed(&scene, &command);
        typed.env("MLAAS_OUTPUT", &scene.folder);
        let done = Process::run(&command.program, typed, PATIENCE);
        assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
        assert!(!done.stdout.is_empty(), "{command:?}: {done:?}");
    }
    worker.signal(Signal::SIGINT);
    assert_eq!(worker.wait(PATIENCE).code(), Some(0));
    assert!(!worker.stderr.text().contains(GONE), "all was answered");
}

/// The three commands of the README from a folder of pictures to their labels over Kafka, and the one that measures them.
#[test]
fn classes_of_ones_own_are_learned_and_served() {
    let scene = Scene::without_broker();
    let (_, next) = page::readme();
    let train = next.iter().position(|of| of.arguments.iter().any(|argument| argument == "mine")).unwrap();
    let [train, start, send, evaluate] = &next[train..train + 4] else { panic!("not four: {next:?}") };
    // Fine noise, and coarse.
    let photos = scene.folder.join("photos");
    for (class, width) in [("fine", 96), ("coarse", 6)] {
        std::fs::create_dir_all(photos.join(class)).unwrap();
        for seed in 0..4 {
            std::fs::write(photos.join(format!("{class}/{seed}.bmp")), noise_bmp(width, width, seed))
                .unwrap();
        }
    }
    // Beside the shipped ones, one of which is the default.
    let weights = scene.folder.join("weights");
    std::fs::create_dir(&weights).unwrap();
    for shipped in ["bird", "fashion-mnist"] {
        std::os::unix::fs::symlink(e2e::paths::root().join("weights").join(shipped), weights.join(shipped))
            .unwrap();
    }
    let one = scene.folder.join("one.bmp");
    std::fs::write(&one, noise_bmp(6, 6, 9)).unwrap();
    let page = scene.folder.join("page.html");
    let own = |of: &Typed| {
        let mut of = of.clone();
        for argument in &mut of.arguments {
            match argument.as_str() {
                "photos/" | "test-photos/" => *argument = photos.to_str().unwrap().to_owned(),
                "photos/one.jpg" => *argument = one.to_str().unwrap().to_owned(),
                "page.html" => *argument = page.to_str().unwrap().to_owned(),
                _ => {}
            }
        }
        let mut command = typed(&scene, &of);
        command.env("MLAAS_WEIGHTS", &weights).env("MLAAS_RUNS", scene.folder.join("runs"));
        command
    };
    let trained = Process::run("model train", own(train), PATIENCE);
    assert_eq!(trained.code, Some(0), "{trained:?}");
    let mut worker = Process::spawn("worker", own(start));
    worker.wait_for_line("its ready line", PATIENCE, |line| line.starts_with("ready").then_some(()));
    let sent = Process::run("client send", own(send), PATIENCE);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(sent.stdout.contains("coarse"), "{sent:?}");
    let measured = Process::run("model evaluate", own(evaluate), PATIENCE);
    assert_eq!(measured.code, Some(0), "{measured:?}");
    assert!(measured.stdout.contains("mine version 1 on 8 images"), "{measured:?}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("of 8 images named right"), "{measured:?}");
}

/// What the README says to train and to measure with, in its order. Training is stopped after the first of its ten epochs, and
/// keeps what it writes apart, by the variables of its flags.
#[test]
#[ignore = "takes minutes: make test-more"]
fn the_clothes_model_is_trained_and_measured() {
    // An epoch takes a minute and a half of one core.
    const LIMIT: Duration = Duration::from_secs(900);
    e2e::current_test::limit(LIMIT);
    let scene = Scene::without_broker();
    let (_, next) = page::readme();
    let rows = [&["data"][..], &["train", "configs/fashion-mnist.yaml"], &["data"], &["evaluate"]];
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|&word| word.into()).collect()).collect();
    let commands: Vec<_> = next.into_iter().filter(|of| rows.contains(&of.arguments)).collect();
    assert!(commands.iter().map(|of| &of.arguments).eq(&rows), "{commands:?}");
    for command in commands {
        let mut typed = if command.program == "make" {
            let mut make = std::process::Command::new("make");
            make.args(&command.arguments).current_dir(e2e::paths::root());
            make
        } else {
            typed(&scene, &command)
        };
        let training = command.arguments[0] == "train";
        if training {
            let own = |name: &str| scene.folder.join(name);
            typed
                .env("MLAAS_STOP_AFTER", "1")
                .env("MLAAS_RUNS", own("runs"))
                .env("MLAAS_WEIGHTS", own("weights"));
        }
        let done = Process::run(&command.program, typed, LIMIT);
        assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
        if training {
            assert!(done.stdout.contains("stopped after epoch 1 of 10"), "{done:?}");
        } else if command.program == "model" {
            let accuracy = done.stdout.lines().find_map(|line| line.trim().strip_prefix("accuracy"));
            let percent = accuracy.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
            assert!(percent.is_some_and(|percent| percent > 93.0), "{done:?}");
            assert!(done.stdout.contains("fashion-mnist version"), "{done:?}");
        }
    }
}

/// Of what its embedded broker still held when a worker ended.
const GONE: &str = "requests that nobody has answered";

/// The embedded broker goes with its worker, and so does what the worker has not taken yet: it says so.
#[test]
fn what_ends_with_the_embedded_broker_is_said() {
    const REQUESTS: u64 = 300;
    let scene = Scene::without_broker();
    let mut command = scene.command("worker");
    command
        .args(["--name", "w1", "--log-format", "json", "--instances", "1", "--max-batch-size", "4"])
        .args(["--set", "queue.backpressure={high_requests: 4, low_requests: 2}"]);
    let mut worker = Worker::start("w1", command);
    // Not by `client`, which waits for the answers here. To compute takes longer than to send, so most of these wait on the
    // broker.
    let hen = std::fs::read(sample("hen.webp")).unwrap();
    let records = (0..REQUESTS)
        .map(|i| Record::bytes(&i.to_string(), hen.clone()).header("ce_model", "bird"))
        .collect::<Vec<_>>();
    let sender = Sender::new(&worker.bootstrap_servers(), &scene.topics.requests);
    assert_eq!(sender.send(&records).len(), records.len());
    worker.process.signal(Signal::SIGTERM);
    assert_eq!(worker.process.wait(PATIENCE).code(), Some(0));
    let said = worker.process.stderr.text();
    let line = said.lines().find(|line| line.contains(GONE)).unwrap_or_else(|| panic!("{said}"));
    let line: Value = serde_json::from_str(line).unwrap();
    let requests = line["requests"].as_u64().unwrap();
    assert!((1..=REQUESTS).contains(&requests), "{requests}");
}

/// A second worker finds the first one's broker; they are one group on it.
#[test]
fn a_second_worker_joins_the_first_ones_broker() {
    let scene = Scene::without_broker();
    let start = |name: &str| {
        let mut command = scene.command("worker");
        command.args(["--name", name, "--log-format", "json"]).args(crate::FASHION_ONLY);
        Worker::start(name, command)
    };
    let first = start("w1");
    let second = start("w2");
    assert_eq!(
        (&first.ready["embedded"], &second.ready["embedded"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    assert_eq!(first.bootstrap_servers(), second.bootstrap_servers());

    let mut answered_by = BTreeSet::new();
    e2e::wait_until("answers from both", PATIENCE, || {
        let mut send = scene.command("client");
        send.args(["send", "--wait", "--json", "data/samples"]).args(["--model", "fashion-mnist"]);
        let sent = Process::run("client send", send, PATIENCE);
        for line in sent.stdout.lines() {
            let result: Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
            answered_by.insert(result["worker"].as_str().unwrap_or_default().to_owned());
        }
        if answered_by.len() == 2 { Ok(()) } else { Err(format!("by {answered_by:?}; {}", sent.stderr)) }
    });
}

/// The embedded broker forgets past 5 MiB a partition without a word. The client knows, so a folder of ten times what its
/// four partitions hold is answered image by image.
#[test]
fn ten_times_what_the_embedded_broker_holds() {
    const FILES: usize = 420;
    let scene = Scene::without_broker();
    let _worker = {
        let mut command = scene.command("worker");
        command.args(["--name", "w1", "--log-format", "json"]).args(crate::FASHION_ONLY);
        Worker::start("w1", command)
    };
    // Few files with many names: the bytes that are sent count, not those on the disk.
    let folder = scene.folder.join("images");
    std::fs::create_dir_all(&folder).unwrap();
    let mut bytes = 0;
    for i in 0..FILES {
        let path = folder.join(format!("{i:03}.bmp"));
        if i < 10 {
            std::fs::write(&path, noise_bmp(420 + i as u32, 400, i as u64)).unwrap();
        } else {
            std::fs::hard_link(folder.join(format!("{:03}.bmp", i % 10)), &path).unwrap();
        }
        bytes += path.metadata().unwrap().len();
    }
    assert!(bytes > 10 * 4 * 5 * 1024 * 1024, "{bytes}");

    let mut send = scene.command("client");
    send.args(["send", "--wait", "--json", "--model", "fashion-mnist", "--timeout", "60s"]).arg(&folder);
    let sent = Process::run("client send", send, Duration::from_secs(240));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let answered = sent
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|result| result["status"] == "success")
        .map(|result| result["file"].as_str().unwrap().to_owned())
        .collect::<BTreeSet<_>>();
    assert_eq!(answered.len(), FILES);
}
