//! What was heard is told rightly, whatever order, clocks and records it came with.

use wire::{Histogram, ModelFigures, Rooms};

use super::view::{Asked, Presence, View};
use super::*;

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

/// So many answers of `millis` each with that version, in one second.
fn figures(model: &str, answered: u64, millis: u64) -> ModelFigures {
    let mut latency = Histogram::default();
    (0..answered).for_each(|_| latency.add(Duration::from_millis(millis)));
    let counts = Counts {
        answered,
        images: answered,
        batches: answered.div_ceil(4),
        latency,
        rooms_us: Rooms::default(),
        errors: BTreeMap::new(),
    };
    ModelFigures { model: model.to_owned(), version: 1, waiting: 2, counts }
}

fn snapshot(worker: &str, second: i64, models: Vec<ModelFigures>) -> Snapshot {
    Snapshot {
        worker: worker.to_owned(),
        at: at(second),
        covers_ms: 1_000,
        interval_ms: 1_000,
        uptime_s: 1_000 + u64::try_from(second.max(0)).unwrap(),
        models,
        errors: BTreeMap::new(),
        dead_letters: 0,
        state: WorkerState {
            partitions: 2,
            lag: Some(3),
            instances: 1,
            cpu_ms: 500,
            ..WorkerState::default()
        },
    }
}

/// Heard as it was written.
fn hear(live: &mut Live, second: i64, snapshot: Snapshot) {
    live.take(snapshot, at(second), at(second), true);
}

fn view(live: &Live, second: i64) -> View {
    live.view(&Asked::default(), at(second))
}

/// A minute of two workers, one of which answers twice as much and slower.
fn minute() -> Live {
    let mut live = Live::default();
    for second in 0..60 {
        hear(&mut live, second, snapshot("w1", second, vec![figures("bird", 4, 100)]));
        hear(
            &mut live,
            second,
            snapshot("w2", second, vec![figures("bird", 8, 400), figures("shoe", 2, 10)]),
        );
    }
    live
}

#[track_caller]
fn near(told: f64, exact: f64) {
    assert!((told / exact - 1.0).abs() < 0.13, "{told} is not about {exact}");
}

#[test]
fn workers_and_versions_are_added_up() {
    let view = view(&minute(), 60);
    near(view.now.per_second, 14.0);
    assert_eq!((view.total.answered, view.total.failed, view.lag), (14 * 60, 0, Some(6)));
    near(view.now.p50_ms.unwrap(), 400.0);
    near(view.now.p99_ms.unwrap(), 400.0);
    near(view.now.batch.unwrap(), 14.0 / 4.0);
    let names: Vec<_> = view.workers.iter().map(|w| (w.worker.as_str(), w.presence, w.waiting)).collect();
    assert_eq!(names, [("w1", Presence::Works, 2), ("w2", Presence::Works, 4)]);
    near(view.workers[0].now.p50_ms.unwrap(), 100.0);
    assert!((view.workers[0].cores - 0.5).abs() < 1e-9);
    let models: Vec<_> = view.models.iter().map(|m| (m.model.as_str(), m.workers, m.waiting)).collect();
    assert_eq!(models, [("bird", 2, 4), ("shoe", 1, 2)]);
    near(view.models[0].now.per_second, 12.0);
    near(view.models[1].now.p99_ms.unwrap(), 10.0);
    assert_eq!((view.step_s, view.points.len()), (2, 150));
    let last = view.points.last().unwrap();
    near(last.per_second, 14.0);
    assert_eq!(last.lag, Some(6));
    assert_eq!((view.points[0].per_second, view.points[0].p50_ms, view.points[0].lag), (0.0, None, None));
}

#[test]
fn one_model_or_worker_can_be_asked_for() {
    let live = minute();
    let of = |asked: Asked| live.view(&asked, at(60));
    let shoe = of(Asked { model: Some("shoe".into()), ..Asked::default() });
    assert_eq!((shoe.total.answered, shoe.models.len(), shoe.workers.len()), (120, 1, 2));
    near(shoe.points[149].per_second, 2.0);
    near(shoe.workers[1].now.per_second, 2.0);
    let first = of(Asked { worker: Some("w1".into()), version: Some(1), ..Asked::default() });
    assert_eq!((first.total.answered, first.workers.len(), first.lag), (240, 1, Some(3)));
    assert_eq!(of(Asked { version: Some(2), ..Asked::default() }).total.answered, 0);
    let hour = of(Asked { window: KEPT, ..Asked::default() });
    assert_eq!((hour.step_s, hour.points.len(), hour.total.answered), (20, 180, 14 * 60));
    near(hour.points[179].per_second, 14.0);
}

#[test]
fn one_that_is_silent_is_gone_and_one_that_says_so_has_ended() {
    let mut live = minute();
    let ends = |state: WorkerState| WorkerState { ends: true, ..state };
    let last = snapshot("w2", 60, vec![figures("bird", 3, 400)]);
    hear(&mut live, 60, Snapshot { state: ends(last.state.clone()), ..last });
    let soon = view(&live, 64);
    assert_eq!((soon.workers[0].presence, soon.workers[1].presence), (Presence::Works, Presence::Ended));
    assert_eq!((soon.lag, soon.models.len(), soon.models[1].workers), (Some(3), 2, 0));
    let later = view(&live, 65);
    assert_eq!((later.workers[0].presence, later.lag), (Presence::Gone, None));
    assert_eq!((later.now.per_second, later.workers[0].heard_s), (0.0, 6));
    assert_eq!(later.total.answered, 14 * 60 + 3, "what it did is not forgotten");
    // One that writes every ten seconds may be silent for longer.
    let slow = Snapshot { interval_ms: 10_000, covers_ms: 10_000, ..snapshot("w3", 65, Vec::new()) };
    hear(&mut live, 65, slow);
    assert_eq!(view(&live, 90).workers[0].worker, "w3");
    hear(&mut live, 800, snapshot("w4", 800, Vec::new()));
    let names: Vec<_> = view(&live, 800).workers.into_iter().map(|w| w.worker).collect();
    assert_eq!(names, ["w4"], "after ten minutes nobody wants to know");
}

#[test]
fn what_was_missed_is_a_gap_and_what_came_late_is_where_it_belongs() {
    let mut live = Live::default();
    for second in (0..60).rev().filter(|second| !(20..30).contains(second)) {
        live.take(snapshot("w1", second, vec![figures("bird", 5, 100)]), at(second), at(60), false);
    }
    let told = view(&live, 60);
    assert_eq!((told.total.answered, told.workers[0].heard_s), (250, 1), "the newest one is the last word");
    let rates: Vec<_> = told.points[120..].iter().map(|point| point.per_second).collect();
    let expected: Vec<_> = (0..30).map(|two| if (10..15).contains(&two) { 0.0 } else { 5.0 }).collect();
    assert_eq!(rates, expected);
    // While the broker was away one was not written each second: it covers more.
    let all = Snapshot { covers_ms: 20_000, ..snapshot("w1", 61, vec![figures("bird", 40, 100)]) };
    hear(&mut live, 61, all);
    near(view(&live, 61).now.per_second, 2.0);
}

#[test]
fn clocks_that_go_wrong_do_no_harm() {
    let mut live = minute();
    // A worker an hour behind, one an hour ahead: as they come, they are of now.
    for second in 60..75 {
        for (worker, wrong) in [("behind", -3600), ("ahead", 3600)] {
            let written = at(second + wrong);
            let said = snapshot(worker, second + wrong, vec![figures("bird", 1, 100)]);
            live.take(Snapshot { uptime_s: 5_000, ..said }, written, at(second), true);
        }
    }
    let told = view(&live, 75);
    for name in ["ahead", "behind"] {
        let row = told.workers.iter().find(|row| row.worker == name).unwrap();
        assert_eq!(row.presence, Presence::Works, "{name}");
        near(row.now.per_second, 1.0);
    }
    near(told.points[148].per_second, 2.0);
    // The reader's own clock is set back: what was heard in what is now the future is no longer told.
    hear(&mut live, -1000, snapshot("w1", -1000, vec![figures("bird", 7, 100)]));
    let back = view(&live, -999);
    assert_eq!(back.total.answered, 7);
    assert!(back.workers.iter().any(|row| row.worker == "w1" && row.presence == Presence::Works));
    // A worker's is: its state is the newest all the same, and one that starts anew is not measured by what it did before.
    let again = Snapshot { uptime_s: 1, state: WorkerState::default(), ..snapshot("w1", -5000, Vec::new()) };
    hear(&mut live, -998, again);
    let row = view(&live, -998).workers.into_iter().find(|row| row.worker == "w1").unwrap();
    assert_eq!((row.partitions, row.lag, row.now.per_second), (0, None, 0.0));
}

#[test]
fn an_hour_is_kept_and_no_more_however_much_there_is() {
    let mut live = Live::default();
    for second in 0..8000 {
        hear(&mut live, second, snapshot("w1", second, vec![figures("bird", 1, 100)]));
    }
    assert!(
        live.seconds.len() <= 305 && live.tens.len() <= 362,
        "{} {}",
        live.seconds.len(),
        live.tens.len()
    );
    let hour = live.view(&Asked { window: KEPT, ..Asked::default() }, at(8000));
    assert!((3600..=3610).contains(&hour.total.answered), "{}", hour.total.answered);
    assert!(live.workers.values().all(|worker| worker.recent.len() <= 11));
    // Names that nobody could read, and more of them than anybody has.
    for many in 0..400 {
        let mut said = snapshot(&format!("{many}{}", "é".repeat(1000)), 8001, Vec::new());
        said.models = (0..400).map(|n| figures(&format!("{n}{}", "m".repeat(1000)), 1, 1)).collect();
        said.errors =
            (0..400).map(|n| (format!("{n}{}", "X".repeat(if n % 2 == 0 { 3 } else { 300 })), 1)).collect();
        hear(&mut live, 8001, said);
    }
    assert_eq!(live.workers.len(), MOST);
    let told = view(&live, 8002);
    assert!(told.workers.iter().all(|row| row.worker.chars().count() <= NAME));
    let slot = live.seconds.since(START + 8001).next().unwrap();
    assert!(slot.counts.len() <= 129, "{}", slot.counts.len());
    let kinds = slot.counts.values().map(|counts| counts.errors.len()).max();
    assert!(kinds.unwrap() <= 2 * KINDS, "{kinds:?}");
}

#[test]
fn nothing_was_heard_yet() {
    let told = view(&Live::default(), 0);
    assert_eq!((told.now.per_second, told.lag, told.workers.len(), told.points.len()), (0.0, None, 0, 150));
    // A worker that has just begun has covered nothing.
    let mut live = Live::default();
    hear(&mut live, 0, Snapshot { covers_ms: 0, ..snapshot("w1", 0, vec![figures("bird", 0, 0)]) });
    let told = view(&live, 0);
    assert_eq!((told.workers[0].cores, told.models[0].model.as_str()), (0.0, "bird"));
}
