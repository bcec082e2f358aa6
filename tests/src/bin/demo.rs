//! What `make demo` shows: two workers of one group on an embedded broker name real images for both models. Stands on what
//! the end-to-end tests stand on, so nothing that it starts outlives it. With `--ui` all of it stays up, with a gateway and its
//! page in front, until Ctrl-C.

use std::net::TcpListener;
use std::process::ExitCode;

use comfy_table::{Table, presets};
use e2e::PATIENCE;
use e2e::process::Process;
use e2e::scene::{Scene, Worker};
use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;

/// Where the page is, if that is free.
const PAGE: &str = "127.0.0.1:8000";

/// What is sent, and what must come back.
const SHOWN: [(&str, &str, &str); 5] = [
    ("fashion-mnist", "sandal5.png", "sandal"),
    ("fashion-mnist", "trouser1.png", "trouser"),
    ("fashion-mnist", "bag8.png", "bag"),
    ("bird", "scarlet_macaw.webp", "macaw"),
    ("bird", "hen.webp", "hen"),
];

fn main() -> ExitCode {
    let page = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--ui") => true,
        Some(_) => {
            eprintln!("demo: the only flag is --ui");
            return ExitCode::from(2);
        }
    };
    // Before there is any other thread: what is not waited for ends this program, and with it all that it has started.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    if page && let Err(error) = signals.thread_block() {
        eprintln!("error: signals can't be waited for: {error}");
        return ExitCode::FAILURE;
    }
    // What the harness finds wrong it says by panicking; here that is one line, with the words of the processes.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("error: {}", info.payload_as_str().unwrap_or("the demo failed"));
    }));
    // Its own folder for the broker's address, so that a broker that the user runs is not disturbed.
    let scene = Scene::without_broker();
    println!("an embedded broker and two workers of one group ...");
    let workers = ["worker-1", "worker-2"].map(|name| {
        let mut command = scene.command("worker");
        command.args([
            "--name",
            name,
            "--instances",
            "1",
            "--http-listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ]);
        Worker::start(name, command)
    });
    println!("images sent over Kafka, answers awaited ...");
    let answers = ["fashion-mnist", "bird"].map(|model| ask(&scene, model)).concat();
    println!("\n{}", table(&answers));
    let wrong = wrong(&answers);
    if page && wrong.is_none() {
        show_page(&scene, &signals);
    }
    // The second one uses the first one's broker.
    for mut worker in workers.into_iter().rev() {
        worker.process.signal(Signal::SIGTERM);
        worker.process.wait(PATIENCE);
    }
    match wrong {
        None => ExitCode::SUCCESS,
        Some(words) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps a gateway up until a signal comes.
fn show_page(scene: &Scene, signals: &SigSet) {
    let listen = if TcpListener::bind(PAGE).is_ok() { PAGE } else { "127.0.0.1:0" };
    let mut command = scene.command("gateway");
    command.args([
        "--name",
        "demo",
        "--http-listen",
        listen,
        "--grpc-listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ]);
    let mut gateway = Process::spawn("gateway demo", command);
    let http = gateway.wait_for_line("its ready line", PATIENCE, |line| {
        let line = serde_json::from_str::<Value>(line).ok()?;
        line["http"].as_str().map(str::to_owned)
    });
    println!("\nthe page: http://{http}    (Ctrl-C ends all of it)");
    match signals.wait() {
        Ok(_) => println!("ending ..."),
        Err(error) => eprintln!("error: signals can't be waited for: {error}"),
    }
    gateway.signal(Signal::SIGTERM);
    gateway.wait(PATIENCE);
}

/// Sends the images of one model; an answer is a line of `client send --wait --json`.
fn ask(scene: &Scene, model: &str) -> Vec<Value> {
    let images = SHOWN.iter().filter(|(of, ..)| *of == model);
    let mut client = scene.command("client");
    client
        .args(["send", "--wait", "--json", "--timeout", "60s", "--model", model])
        .args(images.map(|(_, image, _)| format!("data/samples/{image}")));
    let done = Process::run("client", client, PATIENCE);
    assert_eq!(done.code, Some(0), "client send: {}", done.stderr);
    let mut answers =
        done.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
    // They come in the order of the answers.
    answers.sort_by_key(|answer| SHOWN.iter().position(|(_, image, _)| *image == file(answer)));
    answers
}

/// The image's name without its folder.
fn file(answer: &Value) -> &str {
    answer["file"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default()
}

fn table(answers: &[Value]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["image", "model", "label", "probability", "latency", "worker"]);
    for answer in answers {
        let best = &answer["predictions"][0];
        table.add_row([
            file(answer).to_owned(),
            text(&answer["model"]["name"]),
            text(&best["label"]),
            format!("{:.1} %", best["probability"].as_f64().unwrap_or_default() * 100.0),
            format!("{:.1} ms", answer["latency_ms"].as_f64().unwrap_or_default()),
            text(&answer["worker"]),
        ]);
    }
    table
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A sandal must be named a sandal and a macaw a macaw.
fn wrong(answers: &[Value]) -> Option<String> {
    SHOWN.iter().find_map(|(_, image, label)| {
        let Some(answer) = answers.iter().find(|answer| file(answer) == *image) else {
            return Some(format!("no answer came for {image}"));
        };
        let named = text(&answer["predictions"][0]["label"]);
        (!named.eq_ignore_ascii_case(label))
            .then(|| format!("{image} was named \"{named}\", not \"{label}\""))
    })
}
