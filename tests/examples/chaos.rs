//! SIGKILLs of workers under load, and what they cost: `make chaos KILLS=20`. Three workers of one group on Apache Kafka answer
//! a steady flow of requests, which goes on whatever happens; one after the other is killed in the middle of it, and another
//! one started in its place. It fails where a request is lost, answered wrongly, or more of them are answered twice than are
//! allowed for each kill.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::process::Process;
use e2e::scene::{Kind, Scene};
use e2e::stream::{Paced, Stream};

/// What a worker of the bird model does on one core, times three.
const REQUESTS_A_SECOND: f64 = 210.0;
/// At least so many requests for each kill.
const REQUESTS_A_KILL: usize = 1500;
/// Answers beyond the first of each request that a kill may cost.
const DUPLICATES_A_KILL: usize = 15;
const WORKERS: usize = 3;
const FLAGS: &[&str] = &["--set", "models.serve=[{name: fashion-mnist}]"];

fn main() -> ExitCode {
    let kills = match std::env::args().nth(1).map_or(Ok(20), |text| text.parse::<usize>()) {
        Ok(kills @ 1..) => kills,
        _ => {
            eprintln!("chaos: say how many kills, as in `make chaos KILLS=20`");
            return ExitCode::from(2);
        }
    };
    let scene = Scene::on(Kind::Kafka);
    // Nobody waits until it is ready: that shows by its answers.
    let start = |number: usize| {
        let name = format!("w{number}");
        let command = scene.worker_command(&name, FLAGS);
        (Process::spawn(format!("worker {name}"), command), name)
    };
    let mut workers: Vec<_> = (0..WORKERS).map(start).collect();
    let mut load = Paced::new(Stream::new(&scene), REQUESTS_A_SECOND);
    let began = Instant::now();
    println!("kill  worker  sent before it  answered again");
    for kill in 1..=kills {
        load.until("answers from all three", |stream| {
            workers.iter().all(|(_, name)| stream.answered_by(name) > 0)
        });
        load.until("enough requests for one more kill", |stream| {
            stream.account.sent_count() >= kill * REQUESTS_A_KILL
        });
        // Now here, now there within a second, so that kills meet commits, batches and rebalances at all their stages.
        let end = Instant::now() + Duration::from_millis(kill as u64 * 379 % 1000);
        load.until("the moment of the kill", |_| Instant::now() >= end);
        let (sent, before) = (load.stream.account.sent_count(), load.stream.duplicates());
        let (mut killed, name) = workers.remove(0);
        killed.kill();
        workers.push(start(WORKERS + kill - 1));
        load.until("the answers to all that was sent before", |stream| stream.answered_run() >= sent);
        println!("{kill:4}  {name:6}  {sent:14}  {:14}", load.stream.duplicates() - before);
    }
    let seconds = began.elapsed().as_secs_f64();
    let account = load.stream.settle();
    let (sent, duplicates) = (account.sent_count(), account.duplicates());
    let faults = account.faults(kills * DUPLICATES_A_KILL);
    println!(
        "{sent} requests, {:.0} a second, {kills} kills: {duplicates} answered again, {:.1} a kill, {DUPLICATES_A_KILL} allowed",
        sent as f64 / seconds,
        duplicates as f64 / kills as f64
    );
    if faults.is_empty() {
        println!("none lost, none wrong");
        ExitCode::SUCCESS
    } else {
        eprintln!("chaos: {}", faults.join("\n"));
        ExitCode::FAILURE
    }
}
