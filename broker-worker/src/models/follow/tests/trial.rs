//! A version that is held to limits while it is tried out, and one that answers nobody.

use jiff::{SignedDuration, Timestamp};
use registry::Limits;
use wire::ModelId;

use super::*;
use crate::models::Position;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn canary(since: SignedDuration) -> Trial {
    Trial {
        version: 2,
        part: Part::Canary,
        percent: 50,
        limits: Some(Limits { errors: 0.01, latency: 2.0, disagreement: None, for_s: Some(3600) }),
        change: 7,
        since: Timestamp::now() - since,
    }
}

impl Room {
    fn try_it_out(&mut self, trial: Trial) {
        self.shelf.lock().trial = Some(trial);
        self.follower.step();
    }

    fn answer(&self, version: u32, outcome: Result<(), ErrorCode>) {
        let model = ModelId { name: "bird".into(), version, digest: String::new() };
        for _ in 0..200 {
            self.follower.metrics.trials.answered(&model, outcome, Duration::from_millis(9));
        }
    }

    fn is_tried_out(&self) -> bool {
        self.models.borrow().version("bird", 2).is_some()
    }

    fn position(&self, key: &str) -> (u32, Option<u32>) {
        let models = self.models.borrow();
        let Position { answers, beside } = models.position(None, None, Some(key.as_bytes())).unwrap();
        let version = |at: usize| models.served().nth(at).unwrap().id.version;
        (version(answers), beside.map(version))
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_is_ended_at_once_written_down_once_and_tried_out_again_only_anew() {
    let mut room = room();
    room.step(1);
    room.try_it_out(canary(HOUR / 2));
    assert!(room.is_tried_out());
    room.answer(1, Ok(()));
    room.answer(2, Err(ErrorCode::Internal));
    room.follower.step();
    assert!(!room.is_tried_out());
    let why = "bird 2 is tried out no more: 100.0 % of its last 200 requests failed, and 0.0 % of version 1's last 200";
    assert_eq!((room.notes(), room.skipped()), (vec![why.to_owned()], vec![why.to_owned()]));
    let written = room.shelf.lock().written.clone();
    assert!(matches!(&written[..], [Verdict::Over(reason)] if why.ends_with(reason)), "{written:?}");
    // The history still says so: somebody is slow.
    room.follower.step();
    assert!(!room.is_tried_out() && room.shelf.lock().written.len() == 1);

    room.shelf.lock().trial = None;
    room.follower.step();
    assert_eq!((room.notes(), room.skipped()), (vec![], vec![]));
    room.try_it_out(Trial { change: 9, ..canary(HOUR / 2) });
    assert!(room.is_tried_out(), "another trial");
}

#[tokio::test(start_paused = true)]
async fn where_the_history_can_not_be_written_a_worker_ends_it_for_itself_and_says_so() {
    let mut room = room();
    room.shelf.lock().read_only = true;
    room.step(1);
    room.try_it_out(canary(HOUR / 2));
    room.answer(1, Ok(()));
    room.answer(2, Err(ErrorCode::Internal));
    for _ in 0..3 {
        room.follower.step();
        assert!(!room.is_tried_out());
        let said = room.skipped();
        assert!(said[0].contains("failed") && said[0].contains("this worker can't write that"), "{said:?}");
    }
    // When it may again, it does.
    room.shelf.lock().read_only = false;
    room.follower.step();
    let written = room.shelf.lock().written.clone();
    assert!(matches!(&written[..], [Verdict::Over(_)]) && !room.is_tried_out(), "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn while_it_can_not_be_found_out_what_is_meant_one_that_fails_is_ended_all_the_same() {
    let key = doubles::wanted("bird").key();
    for folder_is_away in [true, false] {
        let mut room = room();
        room.step(1);
        room.try_it_out(canary(HOUR / 2));
        room.shelf.lock().read_only = true;
        if folder_is_away {
            room.shelf.lock().away = true;
        } else {
            room.shelf.lock().meant.clear();
        }
        room.follower.step();
        assert!(room.is_tried_out(), "it goes on while it is good");
        room.answer(1, Ok(()));
        room.answer(2, Err(ErrorCode::Internal));
        room.follower.step();
        assert!(!room.is_tried_out());
        let mut shelf = room.shelf.lock();
        (shelf.away, shelf.read_only) = (false, false);
        shelf.meant.insert(key.clone(), 1);
        drop(shelf);
        room.follower.step();
        let written = room.shelf.lock().written.clone();
        assert!(matches!(&written[..], [Verdict::Over(_)]) && !room.is_tried_out(), "{written:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn beside_another_than_the_one_in_service_none_is_promoted_and_none_is_held_to_itself() {
    let mut room = room();
    room.shelf.lock().broken = vec![3];
    room.step(3);
    assert_eq!(room.found(), "bird 1", "the one in service can't be served here");
    room.try_it_out(canary(HOUR * 2));
    room.answer(1, Ok(()));
    room.answer(2, Ok(()));
    room.follower.step();
    assert!(room.shelf.lock().written.is_empty(), "it is no worse than 1, and 3 is in service");
    assert!(room.is_tried_out());
    // The one that answers for want of it is tried out itself.
    room.try_it_out(Trial { version: 1, change: 8, ..canary(HOUR * 2) });
    room.answer(1, Ok(()));
    room.follower.step();
    assert!(room.shelf.lock().written.is_empty());
    // It still ends where it is over.
    room.try_it_out(Trial { change: 9, ..canary(HOUR * 2) });
    room.answer(1, Ok(()));
    room.answer(2, Err(ErrorCode::Internal));
    room.follower.step();
    assert!(matches!(&room.shelf.lock().written[..], [Verdict::Over(_)]));
}

#[tokio::test(start_paused = true)]
async fn one_that_kept_within_its_limits_is_promoted_when_its_time_is_over() {
    let mut room = room();
    room.step(1);
    room.try_it_out(canary(HOUR / 2));
    room.answer(1, Ok(()));
    room.answer(2, Ok(()));
    room.follower.step();
    assert!(room.shelf.lock().written.is_empty(), "half of its time is left");
    room.shelf.lock().read_only = true;
    room.try_it_out(canary(HOUR * 2));
    let notes = room.notes();
    assert!(
        notes[0].contains("bird 2 kept within its limits, and this worker can't promote it"),
        "{notes:?}"
    );
    assert!(room.is_tried_out(), "it goes on");
    room.shelf.lock().read_only = false;
    room.follower.step();
    let written = room.shelf.lock().written.clone();
    assert!(matches!(&written[..], [Verdict::Kept(_)]), "{written:?}");
    room.shelf.lock().trial = None;
    room.step(2);
    assert_eq!((room.found(), room.notes()), ("bird 2".to_owned(), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_answers_nobody_and_computes_its_share_of_what_names_no_version() {
    let mut room = room();
    room.step(1);
    let shadow = Trial { part: Part::Shadow, percent: 10, limits: None, ..canary(HOUR) };
    room.try_it_out(shadow.clone());
    let meets = |room: &Room| {
        let of = |key| room.position(&format!("user-{key}"));
        let (all, beside): (Vec<_>, Vec<_>) = (0..1000).map(of).unzip();
        assert!(all.iter().all(|version| *version == 1), "it answers");
        beside.into_iter().flatten().inspect(|version| assert_eq!(*version, 2)).count()
    };
    assert!((60..150).contains(&meets(&room)), "{}", meets(&room));
    let named = room.lanes.find(None, Some(1), b"user-1").unwrap();
    assert!(named.beside.is_none(), "whoever names a version means that one");
    let by_number = room.lanes.find(None, Some(2), b"user-1").unwrap();
    assert_eq!(format!("{:?}", by_number.entrance), "bird 2", "and may name the shadow");
    let percent = |room: &Room, version| {
        let models = room.models.borrow();
        let served = models.version("bird", version).unwrap();
        (models.percent(served), models.shadow_percent(served))
    };
    assert_eq!([1, 2].map(|version| percent(&room, version)), [(None, None), (None, Some(10))]);
    room.try_it_out(Trial { percent: 100, ..shadow });
    assert_eq!(meets(&room), 1000);
    // Another kind of trial takes its place, of the same version: nothing is loaded again.
    room.try_it_out(canary(HOUR / 2));
    assert_eq!(room.shelf.lock().opened, [2]);
    assert!((0..1000).any(|key| room.position(&format!("user-{key}")).0 == 2), "now it answers");
    room.shelf.lock().trial = None;
    room.follower.step();
    assert!(!room.is_tried_out() && room.position("user-1") == (1, None));
}

#[tokio::test(start_paused = true)]
async fn where_disagreement_is_limited_what_the_canary_answers_is_computed_by_the_other_version_too() {
    let mut room = room();
    room.step(1);
    let limits = Limits { disagreement: Some(0.1), ..canary(HOUR).limits.unwrap() };
    room.try_it_out(Trial { limits: Some(limits), ..canary(HOUR / 2) });
    for key in 0..1000 {
        match room.position(&format!("user-{key}")) {
            (1, None) | (2, Some(1)) => {}
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..200 {
        room.follower.metrics.trials.compared("bird", [2, 1], false);
    }
    room.follower.step();
    assert!(!room.is_tried_out() && room.skipped()[0].contains("it labels 100.0 % of the last 200"));
}

#[tokio::test(start_paused = true)]
async fn where_the_next_one_can_not_be_served_the_one_before_is_tried_out_no_more() {
    let mut room = room();
    room.shelf.lock().broken = vec![3];
    room.step(1);
    room.try_it_out(canary(HOUR / 2));
    assert!(room.is_tried_out());
    room.try_it_out(Trial { version: 3, change: 8, ..canary(HOUR / 2) });
    assert!(!room.is_tried_out(), "its trial is over, and nobody watches it");
    let reason = "bird 3 is not tried out: bird 3 can't be loaded: no weights";
    for _ in 0..3 {
        room.follower.step();
        assert_eq!((room.notes(), room.skipped()), (vec![reason.to_owned()], vec![reason.to_owned()]));
    }
    assert_eq!(room.shelf.lock().opened, [2, 3], "it is not loaded again and again");
}

/// What was promoted may take minutes to load.
#[test]
fn a_canary_that_fails_is_ended_while_another_version_is_loaded() {
    let gate = Arc::new(doubles::Gate::default());
    let mut room = room();
    room.step(1);
    room.try_it_out(canary(HOUR / 2));
    room.answer(1, Ok(()));
    room.answer(2, Err(ErrorCode::Internal));
    room.shelf.lock().slow = Some((3, Arc::clone(&gate)));
    let key = doubles::wanted("bird").key();
    room.shelf.lock().meant.insert(key, 3);
    let (shelf, models) = (Arc::clone(&room.shelf), room.models.clone());
    let loading = std::thread::spawn(move || {
        room.follower.step();
        room
    });
    let end = Instant::now() + Duration::from_secs(60);
    let goes_on = || models.borrow().version("bird", 2).is_some() || shelf.lock().written.is_empty();
    while goes_on() {
        assert!(Instant::now() < end, "it goes on while version 3 is loaded");
        std::thread::yield_now();
    }
    assert!(!loading.is_finished(), "it was ended before");
    gate.open();
    assert_eq!(loading.join().unwrap().found(), "bird 3");
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_held_against_what_really_answers_where_that_is_not_what_is_meant() {
    let mut room = room();
    room.shelf.lock().broken = vec![4];
    room.step(1);
    room.step(4);
    assert_eq!(room.found(), "bird 1");
    room.try_it_out(canary(HOUR / 2));
    room.answer(1, Ok(()));
    room.answer(2, Err(ErrorCode::Internal));
    room.follower.step();
    assert!(!room.is_tried_out(), "{:?}", room.skipped());
}
