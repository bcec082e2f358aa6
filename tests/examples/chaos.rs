//! SIGKILLs of workers under load, and what they cost: `make chaos KILLS=20`. Three workers of one group on Apache Kafka answer
//! a steady flow of requests; one after the other is killed in the middle of it and started again. It fails where a request
//! is lost, answered wrongly, or more of them are answered twice than are allowed for each kill.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::PATIENCE;
use e2e::scene::{Kind, Scene, Worker};
use e2e::stream::Stream;

/// What a worker of the bird model does on one core, times three.
const REQUESTS_A_SECOND: u32 = 210;
/// Answers beyond the first of each request that a kill may cost.
const DUPLICATES_A_KILL: usize = 15;
const WORKERS: usize = 3;
/// How often requests are sent.
const TICK: Duration = Duration::from_millis(50);
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
    let start = |number: usize| scene.worker(&format!("w{number}"), FLAGS);
    let mut workers: Vec<(usize, Worker)> = (0..WORKERS).map(|number| (number, start(number))).collect();
    let mut load = Load { stream: Stream::new(&scene), sent: Instant::now(), owed: 0.0 };
    println!("kill  worker  answers before it  answered again");
    for kill in 1..=kills {
        load.until("answers from all three", |stream| {
            workers.iter().all(|(number, _)| stream.answered_by(&format!("w{number}")) > 0)
        });
        // Now here, now there within a second, so that kills meet commits, batches and rebalances at all their stages.
        let pause = Duration::from_millis(u64::try_from(kill * 379 % 1000).unwrap_or_default());
        let end = Instant::now() + pause;
        load.until("the moment of the kill", |_| Instant::now() >= end);
        let (answered, before) = (load.stream.answered(), load.stream.duplicates());
        let (number, mut killed) = workers.remove(0);
        killed.process.kill();
        let next = WORKERS + kill - 1;
        workers.push((next, start(next)));
        let sent = load.stream.account.sent_count();
        load.until("the answers to all that was sent before", |stream| stream.answered() >= sent);
        println!("{kill:4}  w{number:<5}  {answered:17}  {:14}", load.stream.duplicates() - before);
    }
    let account = load.stream.settle();
    let (sent, duplicates) = (account.sent_count(), account.duplicates());
    let faults = account.faults(kills * DUPLICATES_A_KILL);
    println!(
        "{sent} requests, {kills} kills: {duplicates} answered again, {:.1} a kill, {DUPLICATES_A_KILL} allowed",
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

/// So many requests a second, however fast they are answered.
struct Load<'a> {
    stream: Stream<'a>,
    sent: Instant,
    owed: f64,
}

impl Load<'_> {
    fn until(&mut self, what: &str, mut done: impl FnMut(&Stream<'_>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&self.stream) {
            assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
            let elapsed = self.sent.elapsed();
            if elapsed >= TICK {
                self.sent = Instant::now();
                // What a start of a worker held up is not made up for.
                self.owed += elapsed.min(TICK * 4).as_secs_f64() * f64::from(REQUESTS_A_SECOND);
                self.stream.send(self.owed as usize);
                self.owed -= self.owed.floor();
            }
            self.stream.look();
        }
    }
}
