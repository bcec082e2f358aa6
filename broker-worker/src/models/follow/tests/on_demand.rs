//! Versions that only a request wants.

use std::sync::mpsc::Receiver;

use tokio::sync::mpsc;
use wire::{ErrorCode, ErrorReply};

use super::*;
use crate::lane::{Entrance, Lane};
use crate::models::{Asked, Demand};
use crate::parcels::{Answer, Batch};
use crate::rooms::batch::{self, Batching, Policy};

/// Of one version.
const BYTES: u64 = 1 << 30;

/// [`super::Room`] whose lanes give what is asked for, and there is room for two of it; [`Room::asked`] is what the follower hears.
struct Asking {
    room: Room,
    asked: Receiver<Asked>,
}

fn asking() -> Asking {
    let (to_follower, asked) = std::sync::mpsc::channel();
    let room = room_with(|versions| Some(Arc::new(Demand::new(versions, to_follower))), BYTES * 5 / 2);
    room.shelf.lock().files = BYTES;
    room.shelf.lock().absent = vec![99];
    Asking { room, asked }
}

impl Asking {
    fn ask(&self, version: u32) -> Result<Arc<Entrance>, ErrorReply> {
        self.room.lanes.find(Some("bird"), Some(version), b"").map(|found| found.entrance)
    }

    /// The follower does what it was asked to.
    fn load(&mut self) {
        while let Ok(Asked::Load(wanted, lane)) = self.asked.try_recv() {
            self.room.follower.load(&wanted, &lane);
        }
    }

    fn served(&self) -> Vec<u32> {
        self.room.models.borrow().iter().map(|served| served.id.version).collect()
    }

    fn opened(&self) -> Vec<u32> {
        self.room.shelf.lock().opened.clone()
    }
}

/// The batch room of that lane, and what leaves it.
struct Leaving {
    batches: mpsc::Receiver<Batch>,
    answers: mpsc::Receiver<Answer>,
}

impl Leaving {
    /// The next answer; none where the room has ended.
    async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(Duration::from_secs(60), self.answers.recv())
            .await
            .expect("an answer, or the end")
    }
}

fn batching(lane: &Arc<Lane>) -> Leaving {
    let (to_room, opened) = mpsc::unbounded_channel();
    to_room.send(Arc::clone(lane)).unwrap();
    let (to_batches, batches) = mpsc::channel(9);
    let (to_answers, answers) = mpsc::channel(9);
    tokio::spawn(batch::run(opened, Policy::new(&Batching::default()), to_batches, to_answers));
    Leaving { batches, answers }
}

#[tokio::test(start_paused = true)]
async fn whoever_names_a_version_waits_until_it_is_loaded() {
    let mut room = asking();
    let entrance = room.ask(2).unwrap();
    assert!(Arc::ptr_eq(entrance.lane(), room.ask(2).unwrap().lane()), "the next one waits there too");
    assert_eq!(room.opened(), [2], "opened once");
    let mut leaving = batching(entrance.lane());
    entrance.line.push(doubles::job_in(entrance.lane(), "a")).unwrap();
    let deadline = Some(tokio::time::Instant::now() + Duration::from_secs(1));
    entrance.line.push(crate::parcels::Job { deadline, ..doubles::job_in(entrance.lane(), "late") }).unwrap();
    let late = leaving.answer().await.unwrap();
    assert_eq!(
        (late.asker.id.as_str(), late.result.unwrap_err().reply.code),
        ("late", ErrorCode::DeadlineExceeded)
    );
    assert!(leaving.batches.try_recv().is_err(), "nothing can be computed yet");

    room.load();
    let batch = leaving.batches.recv().await.expect("a batch");
    assert_eq!(batch.jobs.iter().map(|job| job.asker.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert!(batch.lane.engine(0).is_some() && batch.lane.engine(1).is_some(), "warm, for each instance");
    assert_eq!(room.room.found(), "bird 1", "who names none gets the one in production");
    assert_eq!(room.served(), [1, 2]);
    assert_eq!(room.room.notes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_the_longest_time_ago_goes_first() {
    let mut room = asking();
    for version in [2, 3] {
        room.ask(version).unwrap();
        room.load();
    }
    assert_eq!(room.served(), [1, 2, 3], "as many as there is room for, beside what is in production");
    let two = room.ask(2).unwrap();
    room.ask(4).unwrap();
    room.load();
    assert_eq!(room.served(), [1, 2, 4], "3 was asked for before 2");
    drop(two);
    room.ask(3).unwrap();
    room.load();
    assert_eq!(room.served(), [1, 4, 3]);
    assert_eq!(room.opened(), [2, 3, 4, 3], "read again");
    let text = room.room.follower.metrics.text();
    let memory = |version| format!(r#"model_memory_bytes{{model="bird",version="{version}"}} {BYTES}"#);
    assert!(text.contains(&memory(4)) && !text.contains(&memory(2)), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_is_to_go_goes_and_comes_again_and_what_is_in_service_stays() {
    let mut room = asking();
    room.ask(2).unwrap();
    room.load();
    for (name, version) in [("bird", 1), ("bird", 3), ("fish", 2)] {
        room.room.follower.let_go_on_demand(name, version);
        assert_eq!(room.served(), [1, 2], "{name} {version}");
    }
    room.room.follower.let_go_on_demand("bird", 2);
    assert_eq!(room.served(), [1]);
    room.ask(2).unwrap();
    room.load();
    assert_eq!((room.served(), room.opened()), (vec![1, 2], vec![2, 2]));
    room.room.step(2);
    room.room.follower.let_go_on_demand("bird", 2);
    assert_eq!(room.room.found(), "bird 2", "it is in service now");
}

#[tokio::test(start_paused = true)]
async fn what_is_promoted_does_not_count_and_does_not_go() {
    let mut room = asking();
    room.ask(2).unwrap();
    // In production before anybody had the time to load it.
    room.room.step(2);
    assert!(room.ask(2).unwrap().model.is_ready() && room.room.found() == "bird 2");
    room.load();
    for version in [3, 4, 5] {
        room.ask(version).unwrap();
        room.load();
    }
    assert_eq!(room.served(), [2, 4, 5]);
    assert_eq!(room.room.found(), "bird 2");
}

#[tokio::test(start_paused = true)]
async fn what_is_promoted_may_take_more_than_all_that_is_asked_for_may() {
    let mut room = asking();
    room.room.shelf.lock().files = 3 * BYTES;
    room.ask(2).unwrap();
    room.room.step(2);
    room.load();
    assert!(room.ask(2).unwrap().model.is_ready() && room.room.found() == "bird 2");
    assert_eq!((room.room.skipped(), room.room.notes()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_loaded_is_said_to_all_who_wait_and_tried_again_when_it_changes() {
    let mut room = asking();
    room.room.shelf.lock().broken = vec![2];
    room.room.shelf.lock().panicking = vec![3];
    for version in [2, 3] {
        let entrance = room.ask(version).unwrap();
        let lane = Arc::clone(entrance.lane());
        let mut leaving = batching(&lane);
        entrance.line.push(doubles::job_in(&lane, "a")).unwrap();
        room.load();
        // One that found it before.
        entrance.line.push(doubles::job_in(&lane, "b")).unwrap();
        for id in ["a", "b"] {
            let answer = leaving.answer().await.unwrap();
            assert_eq!(answer.asker.id, id);
            let reply = answer.result.unwrap_err().reply;
            assert!(reply.code == ErrorCode::Unavailable && reply.retryable, "{reply:?}");
        }
        drop((entrance, lane));
        assert!(leaving.answer().await.is_none(), "its lane ends behind the last one");
        assert_eq!(room.ask(version).unwrap_err().code, ErrorCode::Unavailable);
    }
    assert_eq!((room.opened(), room.served()), (vec![2, 3], vec![1]), "each once");
    let skipped = room.room.skipped();
    assert_eq!(skipped[0], "bird 2 was asked for, and is not served: bird 2 can't be loaded: no weights");
    assert_eq!(room.room.notes(), [""; 0], "what is meant to be served is");

    room.room.shelf.lock().half_there = vec![4];
    assert_eq!([4, 4].map(|version| room.ask(version).unwrap_err().code), [ErrorCode::Unavailable; 2]);
    assert_eq!(room.opened(), [2, 3, 4]);
    assert!(room.room.skipped()[2].starts_with("bird 4 was asked for, and is not served: "));
    room.room.shelf.lock().broken.clear();
    room.room.shelf.lock().looks.insert(2, "mended".into());
    assert!(room.ask(2).is_err(), "however many name it, one looks once a second");
    tokio::time::advance(Duration::from_secs(1)).await;
    room.ask(2).unwrap();
    room.load();
    assert_eq!((room.served(), room.room.skipped().len()), (vec![1, 2], 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_too_large_is_not_served_and_nothing_else_goes_for_it() {
    let mut room = asking();
    room.ask(2).unwrap();
    room.load();
    let absent = room.ask(99).unwrap_err();
    assert_eq!(absent.code, ErrorCode::NotFound);
    assert!(absent.message.contains("version 99 of bird is not served here"), "{}", absent.message);
    assert_eq!(room.room.lanes.find(Some("fish"), Some(1), b"").unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(room.opened(), [2, 99], "no model of that name is served");

    room.room.shelf.lock().files = 3 * BYTES;
    room.ask(3).unwrap();
    room.load();
    assert_eq!(room.served(), [1, 2]);
    let reason = &room.room.skipped()[0];
    assert!(
        reason.contains("it takes about 3072 MiB, and models.on_demand_bytes allows 2560 MiB"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn all_together_take_no_more_than_they_may_and_what_is_in_service_goes_before_what_is_asked_for() {
    let mut room = asking();
    room.room.follower.limit = BYTES * 5 / 2;
    for version in [2, 3] {
        room.ask(version).unwrap();
        room.load();
    }
    assert_eq!(room.served(), [1, 2, 3]);
    room.room.step(4);
    assert_eq!((room.served(), room.room.found().as_str()), (vec![4, 3], "bird 4"), "version 2 gives way");
    room.room.follower.limit = BYTES * 3 / 2;
    room.room.step(5);
    assert_eq!((room.served(), room.room.found().as_str()), (vec![4], "bird 4"));
    let figures =
        "it takes about 1024 MiB, the others take 1024 MiB, and models.memory_bytes allows 1536 MiB together";
    let reason = &room.room.skipped()[0];
    assert!(
        reason.starts_with("bird 5 is not served, and bird 4 still is: ") && reason.contains(figures),
        "{reason}"
    );
    room.ask(6).unwrap();
    room.load();
    let reason = &room.room.skipped()[1];
    assert!(
        reason.starts_with("bird 6 was asked for, and is not served: ") && reason.contains(figures),
        "{reason}"
    );
    assert_eq!(room.served(), [4]);
}

#[test]
fn who_asks_for_a_look_need_not_wait_for_the_next_one() {
    let (asking, asked) = std::sync::mpsc::channel();
    let room = room();
    let key = doubles::wanted("bird").key();
    room.shelf.lock().meant.insert(key, 2);
    let running = std::thread::spawn(move || room.follower.run(Duration::from_secs(3600), &asked));
    asking.send(Asked::Look).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    let serves = |models: &watch::Receiver<Models>| models.borrow().version("bird", 2).is_some();
    while !serves(&room.models) {
        assert!(std::time::Instant::now() < end, "it does not look");
        std::thread::yield_now();
    }
    drop(asking);
    running.join().unwrap();
}

#[test]
fn a_worker_that_ends_leaves_nobody_waiting_for_a_version() {
    let Asking { room, asked } = asking();
    let running = std::thread::spawn(move || room.follower.run(Duration::from_secs(3600), &asked));
    let lanes = room.lanes;
    lanes.find(Some("bird"), Some(2), b"").unwrap();
    drop(lanes);
    running.join().unwrap();
}
