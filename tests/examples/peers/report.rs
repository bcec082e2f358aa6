//! What is promised, the figures of all rounds, and whether the promises are kept.

use std::process::ExitCode;

use e2e::paths;
use serde_json::{Value, json};

use crate::instruction_set::instruction_set;
use crate::{ARMS, Figures};

type Figure = fn(&Figures) -> f64;

const RATE: (&str, Figure) = ("answers a second", |of| of.rate);
const CPU: (&str, Figure) = ("CPU-ms an answer", |of| of.cpu_ms);

/// One arm's figure against another's.
struct Promise {
    arm: &'static str,
    to: &'static str,
    what: (&'static str, Figure),
    /// The ratio.
    promised: f64,
    at_least: bool,
}

const fn promise(
    arm: &'static str,
    to: &'static str,
    what: (&'static str, Figure),
    promised: f64,
    at_least: bool,
) -> Promise {
    Promise { arm, to, what, promised, at_least }
}

/// With so many processors.
fn promises(processors: usize) -> [Promise; 5] {
    // With three the broker has one of its own.
    let twice = if processors > 2 { 1.9 } else { 1.6 };
    [
        promise("openvino", "python", RATE, 1.25, true),
        promise("openvino", "python", CPU, 0.85, false),
        promise("libtorch", "python", RATE, 1.0, true),
        promise("two instances", "openvino", RATE, twice, true),
        promise("small net", "mlserver", CPU, 0.5, false),
    ]
}

pub(crate) fn report(rounds: &[[Figures; ARMS.len()]], processors: usize, as_json: bool) -> ExitCode {
    let all = |name: &str, figure: Figure| -> Vec<f64> {
        let arm = ARMS.iter().position(|arm| arm.name == name).unwrap_or_default();
        rounds.iter().map(|round| figure(&round[arm])).collect()
    };
    // Of each round, and of those the median: what slows a whole round down slows both.
    let ratio = |name: &str, to: &str, figure: Figure| {
        median(all(name, figure).into_iter().zip(all(to, figure)).map(|(of, to)| of / to))
    };
    let mut kept = true;
    let verdicts =
        promises(processors).map(|Promise { arm, to, what: (what, figure), promised, at_least }| {
            let found = ratio(arm, to, figure);
            let holds = if at_least { found >= promised } else { found <= promised };
            kept &= holds;
            let side = if at_least { "at least" } else { "at most" };
            (format!("{arm} : {to}, {what}"), found, format!("{side} {promised}"), holds)
        });
    if as_json {
        let arms: serde_json::Map<_, _> = ARMS
            .iter()
            .map(|arm| {
                let each = |figure| all(arm.name, figure);
                let value = json!({
                    "answers_a_second": each(RATE.1),
                    "cpu_ms_an_answer": each(CPU.1),
                    "peak_mb": each(|of| of.peak_mb),
                });
                (arm.name.to_owned(), value)
            })
            .collect();
        let promises: Vec<Value> = verdicts
            .iter()
            .map(|(what, found, promised, holds)| json!({"what": what, "ratio": found, "promised": promised, "kept": holds}))
            .collect();
        let (set, profile) = (instruction_set(), profile());
        println!(
            "{}",
            json!({"instruction_set": set, "profile": profile, "processors": processors, "arms": arms, "promises": promises, "kept": kept})
        );
    } else {
        println!("median of {} rounds", rounds.len());
        for arm in &ARMS {
            let of = |figure| median(all(arm.name, figure).into_iter());
            let (rate, cpu, memory) = (of(RATE.1), of(CPU.1), of(|of| of.peak_mb));
            println!("{:13} {rate:8.2} {}, {cpu:7.3} {}, {memory:.0} MB", arm.name, RATE.0, CPU.0);
        }
        for (what, found, promised, holds) in verdicts {
            println!("{what}: {found:.2} ({promised}: {})", if holds { "kept" } else { "MISSED" });
        }
        if processors < 3 {
            println!(
                "two instances with a processor more for the broker, at least 1.9: not measured, since this machine has 2"
            );
        }
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What `worker` was built as.
pub(crate) fn profile() -> String {
    let folder = paths::profile_dir();
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
