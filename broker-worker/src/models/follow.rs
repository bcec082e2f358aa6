//! Another version in the place of the one that is served, while requests come: the versions that are meant are looked up again
//! and again, and what is new is loaded, tried and warmed up on a thread that serves nobody, before the first request meets it.

mod loading;
mod on_demand;
mod trial;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use on_demand::OnDemand;
use trial::{AGAIN, Ended};

use super::demand::Asked;
use super::{Meant, Models, ModelsError, Part, Share, Skipped, Trial, Wanted};
use crate::health::{Health, Problem};
use crate::lane::WeakLanes;
use crate::memory::{self, NoRoom};
use crate::metrics::Metrics;
use crate::served::{NotLoaded, Served};
use crate::trials::Verdict;

/// What was found out so long ago is found out again.
const STALE: Duration = Duration::from_secs(1);
/// What is noted about all of them.
const CATALOG: &str = "models";

/// Where versions come from.
pub trait Versions: fmt::Debug + Send + Sync {
    /// What is to be served.
    ///
    /// # Errors
    /// Where that can't be found out.
    fn wanted(&self) -> Result<Vec<Wanted>, ModelsError>;

    /// The version that is meant now, and what is tried out beside it; none where there is none yet.
    ///
    /// # Errors
    /// Where that can't be found out.
    fn resolve(&self, wanted: &Wanted) -> Result<Option<Meant>, ModelsError>;

    /// That version, its weights not read yet.
    ///
    /// # Errors
    /// Where it is not whole, or can't be served here.
    fn open_version(&self, wanted: &Wanted, version: u32) -> Result<Served, ModelsError>;

    /// What a version looks like from outside. One that could not be served is tried again when this changes.
    fn state(&self, name: &str, version: u32) -> String;

    /// Why the last look went by what had been seen before, where it did.
    fn away(&self) -> Option<String> {
        None
    }

    /// Writes into the history what has become of a version that is tried out beside what is wanted.
    ///
    /// # Errors
    /// Where that can't be written. Where the alias was changed meanwhile, nothing is written, and that is none.
    fn end_canary(&self, wanted: &Wanted, trial: &Trial, verdict: &Verdict) -> Result<(), ModelsError>;
}

/// Has lanes follow the versions that are meant.
pub struct Follower {
    versions: Arc<dyn Versions>,
    lanes: WeakLanes,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    on_demand: Option<OnDemand>,
    /// How many bytes all versions may take together; 0 is as much as there is.
    limit: u64,
    /// What could not be served, what it looked like then, and what was said of it.
    failed: BTreeMap<(String, u32), (String, Skipped)>,
    /// What was meant when that could be found out the last time, where something is tried out, by what is wanted.
    seen: BTreeMap<String, (Wanted, Meant)>,
    /// The trials that did not keep within their limits here, by what is wanted.
    ended: BTreeMap<String, Ended>,
    /// When what became of a trial could not be written into the history, by what is wanted.
    unwritten: BTreeMap<String, Instant>,
    /// So long that is not tried again.
    again: Duration,
    /// What was served and may still be answering.
    replaced: Vec<Weak<Served>>,
}

/// Why another version did not come into service.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error(transparent)]
    NotLoaded(#[from] NotLoaded),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("it panicked while it was loaded: {0}")]
    Panicked(String),
    #[error(
        "it takes about {}, and models.on_demand_bytes allows {}: raise it, or promote this version",
        memory::shown(*.takes),
        memory::shown(*.budget)
    )]
    TooLarge { takes: u64, budget: u64 },
    /// The worker ends: nobody would be served.
    #[error("the worker ends")]
    Ended,
}

impl Follower {
    /// Has those lanes follow `versions`.
    #[must_use]
    pub fn new(
        versions: Arc<dyn Versions>,
        lanes: WeakLanes,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            versions,
            lanes,
            health,
            metrics,
            on_demand: None,
            limit: 0,
            failed: BTreeMap::new(),
            seen: BTreeMap::new(),
            ended: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            again: AGAIN,
            replaced: Vec::new(),
        }
    }

    /// And lets all versions take no more than that many bytes together; 0 is as much as there is.
    #[must_use]
    pub fn within(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Looks about once in `interval`, or never where it is 0, and loads what is asked for, until nobody is left who could ask.
    pub fn run(mut self, interval: Duration, asked: &Receiver<Asked>) {
        let next = || (!interval.is_zero()).then(|| Instant::now() + jittered(interval));
        let mut look = next();
        loop {
            let heard = match look {
                Some(at) => asked.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match heard {
                Ok(Asked::Load(wanted, lane)) => self.load(&wanted, &lane),
                Ok(Asked::LetGo(name, version)) => self.let_go_on_demand(&name, version),
                Ok(Asked::Look) => look = look.map(|_| Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Whoever asks again and again does not keep it from its turn.
            if look.is_some_and(|at| at <= Instant::now()) {
                self.step();
                look = next();
            }
        }
    }

    /// Looks once, and does what is to be done.
    pub fn step(&mut self) {
        self.give_memory_back();
        let wanted = match self.versions.wanted() {
            Ok(wanted) => wanted,
            // What is served goes on.
            Err(error) => {
                self.lost_sight(&error);
                return self.watch_what_was_seen();
            }
        };
        match self.versions.away() {
            Some(why) => self.note_once(format!("the models are those that were last seen: {why}")),
            None if self.health.withdraw(CATALOG) => {
                tracing::info!("which versions are meant can be found out again");
            }
            None => {}
        }
        for wanted in wanted.iter().filter(|wanted| wanted.moves()) {
            self.follow(wanted);
        }
    }

    fn follow(&mut self, wanted: &Wanted) {
        let mut meant = match self.versions.resolve(wanted) {
            Ok(Some(meant)) => meant,
            Ok(None) => return,
            Err(error) => {
                self.tell(self.short_of(wanted, None, &error));
                return self.watch_as_it_was_seen(wanted);
            }
        };
        let begun = Instant::now();
        self.come_to(wanted, meant.version, Share::default());
        // Loading may take minutes: what was to be tried out then may be over.
        if begun.elapsed() >= STALE
            && let Ok(Some(Meant { trial, .. })) = self.versions.resolve(wanted)
        {
            meant.trial = trial;
        }
        self.follow_trial(wanted, &meant);
    }

    /// From now on that version serves what is wanted; where it is tried out, by that share of the requests.
    fn come_to(&mut self, wanted: &Wanted, version: u32, share: Share) {
        let Some(models) = self.models() else { return };
        if let Some(served) = models.serving(wanted).filter(|served| served.id.version == version) {
            if models.share(wanted) != share {
                tracing::info!("{served:?} is tried out by {} % of the requests from now on", share.percent);
                self.change(|models| models.with_share(wanted, Arc::clone(served), share));
            }
            return self.is_as_meant(wanted);
        }
        let state = self.versions.state(&wanted.name, version);
        let of = (wanted.key(), version);
        if let Some((then, skipped)) = self.failed.get(&of)
            && *then == state
        {
            return self.tell(skipped.clone());
        }
        let begun = Instant::now();
        match self.serve(&models, wanted, version, share) {
            Ok(()) => {
                self.metrics.model_loaded(&wanted.name, true);
                let (name, percent, took) = (&wanted.name, share.percent, begun.elapsed());
                match wanted.part {
                    Part::Meant => tracing::info!(?took, "{name} {version} is served from now on"),
                    Part::Canary => tracing::info!(
                        ?took,
                        "{name} {version} is tried out from now on, by {percent} % of the requests"
                    ),
                    Part::Shadow => tracing::info!(
                        ?took,
                        "{name} {version} is tried out from now on, as a shadow of {percent} % of the requests"
                    ),
                }
                self.is_as_meant(wanted);
            }
            Err(NotServed::Ended) => {}
            Err(error) => {
                self.metrics.model_loaded(&wanted.name, false);
                let skipped = self.short_of(wanted, Some(version), &error);
                // While its store is away it is tried again as it is.
                if self.versions.away().is_none() {
                    self.failed.insert(of, (state, skipped.clone()));
                }
                self.tell(skipped);
            }
        }
    }

    /// From the version's files to the first request that meets it.
    fn serve(
        &mut self,
        models: &Models,
        wanted: &Wanted,
        version: u32,
        share: Share,
    ) -> Result<(), NotServed> {
        let mut prepared = None;
        let served = match models.version(&wanted.name, version) {
            Some(served) => {
                if let Some(lane) = self.lanes.upgrade().and_then(|lanes| lanes.lane_of(served)) {
                    self.load_lane(&lane)?;
                }
                Arc::clone(served)
            }
            None => {
                let lane = self.prepare(wanted, version)?;
                let served = Arc::clone(&lane.model);
                prepared = Some(lane);
                served
            }
        };
        let old = models.serving(wanted).map(Arc::downgrade);
        self.lanes
            .upgrade()
            .ok_or(NotServed::Ended)?
            .update(|models| models.with_share(wanted, served, share), prepared);
        self.replaced.extend(old);
        Ok(())
    }

    /// Beside what is in service, which goes behind its last request. What only requests asked for gives way.
    fn make_room_in_service(&mut self, served: &Arc<Served>) -> Result<(), NotServed> {
        loop {
            let models = self.models();
            let others = models.iter().flat_map(Models::iter).filter(|other| !Arc::ptr_eq(other, served));
            let held = others.map(|other| other.memory()).sum();
            match memory::has_room(served.memory(), held, self.limit) {
                Ok(()) => return Ok(()),
                Err(_) if self.let_one_go() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_as_meant(&mut self, wanted: &Wanted) {
        let key = wanted.key();
        self.health.withdraw(&key);
        self.failed.retain(|(of, _), _| *of != key);
        if self.models().is_some_and(|now| now.skipped().iter().any(|skipped| skipped.wanted == *wanted)) {
            self.change(|models| models.without_skipped(wanted));
        }
    }

    /// What was served goes on, whatever is meant.
    fn lost_sight(&self, error: &ModelsError) {
        let error = cli::sentence(error);
        self.note_once(format!(
            "which versions are meant can't be found out, and what is served stays: {error}"
        ));
    }

    fn note_once(&self, sentence: String) {
        if self.health.note(Problem::new(CATALOG, sentence.clone())) {
            tracing::warn!("{sentence}");
        }
    }

    fn short_of(
        &self,
        wanted: &Wanted,
        version: Option<u32>,
        error: &(dyn std::error::Error + 'static),
    ) -> Skipped {
        let models = self.models();
        Skipped::beside(wanted, version, models.as_ref().and_then(|models| models.serving(wanted)), error)
    }

    /// What was served goes on; that it is not what is meant is said, once.
    fn tell(&self, skipped: Skipped) {
        self.note(&skipped.wanted, skipped.reason.clone());
        if self.models().is_some_and(|now| !now.skipped().contains(&skipped)) {
            skipped.log();
            self.change(|models| models.with_one_skipped(skipped));
        }
    }

    /// From now on requests find other models; nothing where the worker ends.
    fn change(&self, change: impl FnOnce(&Models) -> Models) {
        if let Some(lanes) = self.lanes.upgrade() {
            lanes.update(change, None);
        }
    }

    /// What requests find; nothing where the worker ends.
    fn models(&self) -> Option<Models> {
        Some(self.lanes.upgrade()?.models())
    }

    fn note(&self, wanted: &Wanted, sentence: String) {
        self.health.note(Problem::new(wanted.key(), sentence));
    }

    /// What a version took goes back to the system when its last request is answered.
    fn give_memory_back(&mut self) {
        let before = self.replaced.len();
        self.replaced.retain(|served| served.strong_count() > 0);
        if self.replaced.len() < before {
            crate::engines::give_memory_back();
        }
    }
}

/// Between three and five quarters of it, so that many workers do not look at the same moment.
fn jittered(interval: Duration) -> Duration {
    let drawn = RandomState::new().hash_one(0u8) % 1000;
    let parts = 750 + u32::try_from(drawn / 2).unwrap_or(0);
    interval * parts / 1000
}

#[cfg(test)]
mod tests;
