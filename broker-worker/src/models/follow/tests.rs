//! What comes into service, what stays there, and what is tried again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use registry::{RegistryError, Select};
use wire::ErrorCode;

use super::*;
use crate::doubles;
use crate::lane::{Lanes, Opened};
use crate::models::Demand;
use crate::served::LoadError;

mod canary;
mod on_demand;
mod samples;
mod trial;

/// Versions of which a test says what they are.
#[derive(Debug, Default)]
struct Shelf(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: Vec<Wanted>,
    /// What is meant by each thing wanted, by its key; none of it where the store is away.
    meant: BTreeMap<String, u32>,
    away: bool,
    /// What is tried out beside it.
    trial: Option<Trial>,
    /// What was written into the history, if that may be.
    written: Vec<Verdict>,
    /// One that is loaded when the gate is open.
    slow: Option<(u32, Arc<doubles::Gate>)>,
    read_only: bool,
    /// Versions that can't be loaded, and those that panic.
    broken: Vec<u32>,
    panicking: Vec<u32>,
    /// What each version carries: the value of an image, and what it should be called.
    samples: BTreeMap<u32, Vec<(u8, &'static str)>>,
    looks: BTreeMap<u32, String>,
    opened: Vec<u32>,
    /// Those that can't be opened.
    half_there: Vec<u32>,
    /// Those that there are not.
    absent: Vec<u32>,
    /// How many bytes each one's files have.
    files: u64,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn away() -> ModelsError {
    RegistryError::UnknownModel { name: "bird".into(), root: "weights".into(), known: "none".into() }.into()
}

impl Versions for Shelf {
    fn wanted(&self) -> Result<Vec<Wanted>, ModelsError> {
        let state = self.lock();
        if state.away { Err(away()) } else { Ok(state.wanted.clone()) }
    }

    fn resolve(&self, wanted: &Wanted) -> Result<Option<Meant>, ModelsError> {
        let state = self.lock();
        match state.meant.get(&wanted.key()) {
            Some(0) => Ok(None),
            Some(version) => Ok(Some(Meant { version: *version, trial: state.trial.clone() })),
            None => Err(away()),
        }
    }

    fn open_version(&self, wanted: &Wanted, version: u32) -> Result<Served, ModelsError> {
        let mut state = self.lock();
        state.opened.push(version);
        if state.half_there.contains(&version) {
            return Err(away());
        }
        if state.absent.contains(&version) {
            let (name, known) = (wanted.name.clone(), "1, 2".to_owned());
            return Err(RegistryError::UnknownVersion { name, version, known }.into());
        }
        if state.panicking.contains(&version) {
            return Ok(doubles::served_by(&wanted.name, version, || panic!("as it should")));
        }
        if state.broken.contains(&version) {
            let broken = || Err(LoadError::new("no weights"));
            return Ok(doubles::served_by(&wanted.name, version, broken));
        }
        if let Some((_, gate)) = state.slow.clone().filter(|(slow, _)| *slow == version) {
            return Ok(doubles::served_by(&wanted.name, version, move || {
                gate.pass();
                Ok(doubles::engine())
            }));
        }
        let samples = state.samples.get(&version).cloned().unwrap_or_default();
        Ok(doubles::served(&wanted.name, version)
            .with_files(state.files)
            .with_samples(move || Ok(samples::of(&samples))))
    }

    fn state(&self, _: &str, version: u32) -> String {
        self.lock().looks.get(&version).cloned().unwrap_or_default()
    }

    fn end_canary(&self, _: &Wanted, _: &Trial, verdict: &Verdict) -> Result<(), ModelsError> {
        let mut state = self.lock();
        if state.read_only {
            return Err(away());
        }
        state.written.push(verdict.clone());
        Ok(())
    }
}

struct Room {
    shelf: Arc<Shelf>,
    lanes: Lanes,
    opened: Opened,
    models: watch::Receiver<Models>,
    health: Arc<Health>,
    follower: Follower,
}

/// One that serves bird 1 and is to serve what is in production.
fn room() -> Room {
    room_with(|_| None, 0)
}

/// And what is asked for, within that many bytes.
fn room_with(demand: impl FnOnce(Arc<dyn Versions>) -> Option<Arc<Demand>>, budget: u64) -> Room {
    let bird = doubles::wanted("bird");
    let shelf = Arc::<Shelf>::default();
    shelf.lock().wanted = vec![bird.clone()];
    shelf.lock().meant.insert(bird.key(), 1);
    let models =
        Models::of(vec![(bird, Arc::new(doubles::served("bird", 1)))], vec![], "bird", "weights").unwrap();
    let versions = Arc::clone(&shelf) as Arc<dyn Versions>;
    let demand = demand(Arc::clone(&versions));
    let (shape, metrics) = (doubles::shape(crate::lane::Queue::default()), Arc::<Metrics>::default());
    let (lanes, opened) = Lanes::new(&models, shape, Arc::clone(&metrics), demand.clone());
    let health = Arc::<Health>::default();
    health.set_warm();
    health.set_connected(true);
    health.set_joined(true);
    let mut follower = Follower::new(versions, lanes.downgrade(), Arc::clone(&health), metrics);
    follower.again = Duration::ZERO;
    let follower = match demand {
        Some(demand) => follower.with_demand(Arc::downgrade(&demand), budget),
        None => follower,
    };
    Room { shelf, models: lanes.watch(), lanes, opened, health, follower }
}

impl Room {
    fn step(&mut self, meant: u32) {
        let key = doubles::wanted("bird").key();
        self.shelf.lock().meant.insert(key, meant);
        self.follower.step();
    }

    fn found(&self) -> String {
        format!("{:?}", self.lanes.find(None, None, b"").unwrap().entrance)
    }

    fn notes(&self) -> Vec<String> {
        self.health.ready().unwrap()
    }

    fn skipped(&self) -> Vec<String> {
        self.models.borrow().skipped().iter().map(|skipped| skipped.reason.clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_that_is_meant_comes_into_service_and_the_one_before_ends_behind_its_last_job() {
    let mut room = room();
    let first = room.opened.recv().await.unwrap();
    // Somebody has found it and is on the way.
    let entrance = room.lanes.find(None, None, b"").unwrap().entrance;
    room.step(1);
    assert_eq!(room.shelf.lock().opened, [] as [u32; 0], "it is served already");
    room.step(2);
    assert_eq!(room.found(), "bird 2");
    assert_eq!(room.models.borrow().iter().map(|m| m.id.version).collect::<Vec<_>>(), [2]);
    let second = room.opened.recv().await.unwrap();
    assert!(second.engine(0).is_some() && second.engine(1).is_some(), "warm, for each instance");

    assert!(!first.line.waiting().closed);
    entrance.line.push(doubles::job_in(&first, "late")).unwrap();
    drop(entrance);
    assert!(first.line.waiting().closed && first.line.waiting().jobs == 1, "closed behind the last one");
    let gone = Arc::downgrade(&first);
    drop(first.line.take(1));
    drop(first);
    assert!(gone.upgrade().is_none(), "and the engines with it");
    assert_eq!(room.notes(), [""; 0]);
    room.step(1);
    assert_eq!(room.found(), "bird 1", "and back");
}

#[tokio::test(start_paused = true)]
async fn one_that_can_t_be_served_leaves_the_other_and_is_tried_again_only_when_it_changes() {
    let mut room = room();
    room.shelf.lock().broken = vec![2];
    room.shelf.lock().panicking = vec![3];
    room.step(2);
    room.step(2);
    assert_eq!(room.found(), "bird 1");
    assert_eq!(room.shelf.lock().opened, [2], "once");
    let reason = "bird 2 is not served, and bird 1 still is: bird 2 can't be loaded: no weights";
    assert_eq!((room.notes(), room.skipped()), (vec![reason.to_owned()], vec![reason.to_owned()]));
    assert!(room.follower.metrics.text().contains(r#"model_loads_total{model="bird",outcome="failed"} 1"#));

    // While its store is away it is not known that it is meant; then it is again, and is said.
    let meant = std::mem::take(&mut room.shelf.lock().meant);
    room.follower.step();
    assert!(room.notes()[0].starts_with("which version of bird is meant"), "{:?}", room.notes());
    room.shelf.lock().meant = meant;
    room.follower.step();
    assert_eq!((room.notes(), room.skipped()), (vec![reason.to_owned()], vec![reason.to_owned()]));
    assert_eq!(room.shelf.lock().opened, [2], "still once");

    room.shelf.lock().looks.insert(2, "mended".into());
    room.step(2);
    assert_eq!(room.shelf.lock().opened, [2, 2]);
    room.step(3);
    assert_eq!(room.found(), "bird 1");
    assert!(
        room.skipped()[0].ends_with("it panicked while it was loaded: as it should"),
        "{:?}",
        room.skipped()
    );

    room.step(1);
    assert_eq!((room.notes(), room.skipped()), (vec![], vec![]), "nothing else is meant any more");
    room.shelf.lock().broken.clear();
    room.step(2);
    assert_eq!(room.found(), "bird 2", "asked for again, it is tried again");
}

#[tokio::test(start_paused = true)]
async fn what_is_served_goes_on_while_nobody_knows_what_is_meant() {
    let mut room = room();
    room.shelf.lock().away = true;
    room.follower.step();
    assert_eq!(room.found(), "bird 1");
    assert_eq!(room.notes().len(), 1);
    room.shelf.lock().away = false;
    room.shelf.lock().meant.clear();
    room.follower.step();
    assert_eq!(room.found(), "bird 1");
    assert!(
        room.notes()[0].starts_with("which version of bird is meant can't be found out"),
        "{:?}",
        room.notes()
    );
    // It has no version at all, as when the folder is empty because its disk is away.
    room.step(0);
    assert_eq!(room.found(), "bird 1");
    room.step(2);
    assert_eq!((room.found(), room.notes()), ("bird 2".to_owned(), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_appears_is_served_beside_and_a_number_is_never_followed() {
    let mut room = room();
    let (shoe, fixed) = (doubles::wanted("shoe"), doubles::wanted_version("bird", 7));
    {
        let mut state = room.shelf.lock();
        state.wanted.extend([shoe.clone(), fixed.clone()]);
        state.meant.extend([(shoe.key(), 5), (fixed.key(), 7)]);
    }
    room.follower.step();
    assert_eq!(room.found(), "bird 1", "the default stays");
    assert_eq!(format!("{:?}", room.lanes.find(Some("shoe"), None, b"").unwrap().entrance), "shoe 5");
    assert!(room.lanes.find(Some("bird"), Some(7), b"").is_err());
}

#[tokio::test(start_paused = true)]
async fn two_that_mean_the_same_version_share_its_lane_and_part_again() {
    let mut room = room();
    let latest = Wanted { select: Some(Select::Latest), ..doubles::wanted("bird") };
    {
        let mut state = room.shelf.lock();
        state.wanted.push(latest.clone());
        state.meant.insert(latest.key(), 2);
    }
    room.follower.step();
    assert_eq!((room.found().as_str(), room.lanes.all().len()), ("bird 1", 2));
    room.step(2);
    assert_eq!((room.found().as_str(), room.lanes.all().len()), ("bird 2", 1));
    assert_eq!(room.shelf.lock().opened, [2], "it was there already");
    room.shelf.lock().meant.insert(latest.key(), 3);
    room.follower.step();
    assert_eq!((room.found().as_str(), room.lanes.all().len()), ("bird 2", 2), "who means it keeps it");
}

#[test]
fn a_follower_ends_when_the_worker_does() {
    let room = room();
    let (running, end) = std::sync::mpsc::channel::<Asked>();
    let thread = std::thread::spawn(move || room.follower.run(Duration::from_millis(1), &end));
    drop(running);
    thread.join().unwrap();
    for interval in [1, 2000] {
        let interval = Duration::from_millis(interval);
        let drawn: Vec<_> = (0..100).map(|_| jittered(interval)).collect();
        assert!(drawn.iter().all(|time| (interval * 3 / 4..=interval * 5 / 4).contains(time)), "{drawn:?}");
        assert!(drawn.iter().any(|time| *time != drawn[0]), "no two workers look at the same moment");
    }
}
