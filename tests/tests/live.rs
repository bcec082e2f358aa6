//! What workers publish of themselves each second, against what they did.

use std::collections::BTreeMap;

use e2e::account::{Account, Expect};
use e2e::images::{birds, clothes};
use e2e::process::Process;
use e2e::scene::{Kind, Scene, Worker};
use e2e::traffic::Record;
use e2e::{PATIENCE, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use wire::{Counts, Encoding, ErrorCode, Request, Snapshot};

use crate::FASHION_ONLY;

on_both_brokers!(what_is_published_is_what_was_answered);

fn worker(scene: &Scene, name: &str, flags: &[&str]) -> Worker {
    let topic = format!("--set=topics.snapshots={}", scene.topics.snapshots);
    scene.worker(name, &[flags, &[&topic]].concat())
}

/// Two workers that answer requests of two models, wrong ones among them, and end: their snapshots add up to that, to the last request.
fn what_is_published_is_what_was_answered(kind: Kind) {
    let scene = Scene::on(kind);
    let mut workers = [worker(&scene, "w1", &[]), worker(&scene, "w2", &[])];
    let (shoe, bird) = (&clothes()[0], &birds()[0]);
    let mut records = Vec::new();
    let mut expected = Vec::new();
    let mut ask = |model: &str, image: &[u8], expect: Expect| {
        let model = Some(model.to_owned());
        let request = Request { model, ..Request::new(image.to_vec()) };
        records.push(Record::of(&request, Encoding::Bincode));
        expected.push(expect);
    };
    let fails = |code, dead| Expect::Error { code, dead };
    (0..60).for_each(|_| ask("fashion-mnist", &shoe.bytes, Expect::Label(shoe.label.clone())));
    (0..12).for_each(|_| ask("bird", &bird.bytes, Expect::Label(bird.label.clone())));
    (0..5).for_each(|_| ask("bird", b"no image", fails(ErrorCode::InvalidArgument, true)));
    (0..3).for_each(|_| ask("cat", &shoe.bytes, fails(ErrorCode::NotFound, false)));
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |at| expected[at].clone());
    scene.settle(&mut account);
    account.assert_whole(0);
    for worker in &mut workers {
        worker.process.signal(Signal::SIGTERM);
        assert!(worker.process.wait(PATIENCE).success());
    }

    let mut topic = scene.reader(&scene.topics.snapshots);
    topic.read_to_end(PATIENCE);
    let (mut models, mut errors) = (BTreeMap::<_, Counts>::new(), BTreeMap::<_, u64>::new());
    let (mut last, mut dead) = (BTreeMap::new(), 0);
    for record in &topic.seen {
        let value = record.value.as_deref().unwrap();
        assert!(value.len() < 4096, "{} bytes", value.len());
        let snapshot = Snapshot::decode(value).unwrap();
        assert_eq!(record.key.as_deref(), Some(snapshot.worker.as_bytes()));
        for figures in &snapshot.models {
            models.entry(figures.model.clone()).or_default().merge(&figures.counts);
        }
        for (code, many) in &snapshot.errors {
            *errors.entry(code.clone()).or_default() += many;
        }
        dead += snapshot.dead_letters;
        last.insert(snapshot.worker.clone(), snapshot);
    }
    let (clothes, birds) = (&models["fashion-mnist"], &models["bird"]);
    assert_eq!((clothes.answered, clothes.failed(), clothes.latency.all()), (60, 0, 60));
    assert_eq!((birds.answered, birds.latency.all()), (12, 12));
    assert_eq!(birds.errors, BTreeMap::from([("INVALID_ARGUMENT".to_owned(), 5)]));
    assert_eq!((errors, dead), (BTreeMap::from([("NOT_FOUND".to_owned(), 3)]), 5));
    for counts in [clothes, birds] {
        assert!(counts.images >= counts.answered && counts.batches > 0, "{counts:?}");
        assert!(counts.rooms_us.infer > 0 && counts.rooms_us.decode > 0, "{counts:?}");
    }
    assert_eq!(last.keys().collect::<Vec<_>>(), ["w1", "w2"]);
    assert!(last.values().all(|snapshot| snapshot.state.ends), "{last:?}");
    assert!(last.values().all(|snapshot| snapshot.state.memory_bytes > 10 << 20), "{last:?}");
}

/// `client top` into a pipe, and the last that it said.
struct Top(Process);

impl Top {
    fn of(scene: &Scene) -> Self {
        let arguments = ["top", "--json", "--topic", &scene.topics.snapshots];
        Self(Process::spawn("client top", scene.client_command(&arguments)))
    }

    fn now(&self) -> Option<Value> {
        serde_json::from_str(self.0.stdout.text().lines().last()?).ok()
    }

    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        wait_until(what, PATIENCE, || match self.now() {
            Some(view) if holds(&view) => Ok(()),
            view => Err(view.unwrap_or_default().to_string()),
        });
    }
}

fn presence<'a>(view: &'a Value, worker: &str) -> &'a str {
    let rows = view["workers"].as_array().unwrap();
    let row = rows.iter().find(|row| row["worker"] == worker);
    row.map_or("", |row| row["presence"].as_str().unwrap())
}

/// A worker that computes nothing falls behind, and is seen to; one that is killed is gone; and one that is left has all the lag, and
/// then none.
#[test]
fn lag_and_death_are_seen() {
    const REQUESTS: usize = 300;
    let scene = Scene::on(Kind::Kafka);
    let mut dies = worker(&scene, "w1", FASHION_ONLY);
    let stays = worker(&scene, "w2", FASHION_ONLY);
    let top = Top::of(&scene);
    top.until("both workers", |view| presence(view, "w1") == "works" && presence(view, "w2") == "works");
    let shoe = &clothes()[0];
    let records: Vec<_> =
        (0..REQUESTS).map(|i| Record::bytes(&format!("r-{i}"), shoe.bytes.clone())).collect();
    let halted = [dies.process.halt_thread("infer-0"), stays.process.halt_thread("infer-0")];
    let mut account = Account::default();
    account.sent(&records, scene.sender().send(&records), |_| Expect::Label(shoe.label.clone()));
    top.until("most of them behind", |view| {
        view["lag"].as_u64().is_some_and(|lag| lag > REQUESTS as u64 / 2)
    });
    drop(halted);
    top.until("none behind, all answered", |view| {
        view["lag"] == 0 && view["total"]["answered"].as_u64() == Some(REQUESTS as u64)
    });
    scene.settle(&mut account);
    account.assert_whole(0);
    dies.process.kill();
    top.until("the one that was killed gone", |view| {
        presence(view, "w1") == "gone" && presence(view, "w2") == "works"
    });
    // Its partitions are the other's by now.
    top.until("all partitions with the one that is left", |view| {
        view["workers"].as_array().unwrap().iter().any(|row| row["worker"] == "w2" && row["partitions"] == 4)
    });
}
