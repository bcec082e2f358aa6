//! What a request costs a worker at full load, in CPU time, of two builds of `worker` in turn:
//! `cargo run --example drain -- ROUNDS WORKER OTHER`. Each drains a backlog of small requests on Apache Kafka alone.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::Stream;

/// How many requests each drains.
const REQUESTS: usize = 20_000;
const FLAGS: &[&str] = &["--set", "models.serve=[{name: fashion-mnist}]"];

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [rounds, one, other] = arguments.as_slice() else {
        eprintln!("drain: say how many rounds and two executables");
        return ExitCode::from(2);
    };
    let Ok(rounds) = rounds.parse::<usize>() else {
        eprintln!("drain: '{rounds}' is no number of rounds");
        return ExitCode::from(2);
    };
    println!("round  CPU-ms a request            requests a second");
    for round in 1..=rounds {
        let [(a, fast_a), (b, fast_b)] = [one, other].map(|worker| drain(Path::new(worker)));
        println!("{round:5}  {a:.4}  {b:.4}  ratio {:.3}  {fast_a:.0}  {fast_b:.0}", a / b);
    }
    ExitCode::SUCCESS
}

/// CPU-ms a request, and requests a second.
fn drain(executable: &Path) -> (f64, f64) {
    let scene = Scene::on(Kind::Kafka);
    let worker = Worker::start("drains", with_program(&scene.worker_command("drains", FLAGS), executable));
    let mut stream = Stream::new(&scene);
    let (before, start) = (worker.process.cpu_time(), Instant::now());
    stream.send(REQUESTS);
    stream.wait_answered(REQUESTS);
    let seconds = start.elapsed().as_secs_f64();
    let spent = (worker.process.cpu_time() - before).as_secs_f64() * 1000.0;
    let requests = REQUESTS as f64;
    (spent / requests, requests / seconds)
}

/// The same command of another executable.
fn with_program(command: &Command, program: &Path) -> Command {
    let mut other = Command::new(program);
    other.args(command.get_args()).env_clear();
    other.envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("MLAAS_")));
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.current_dir(e2e::paths::root());
    other
}
