//! The lanes that requests find, as they are at this moment.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use wire::ErrorReply;

use super::{Lane, Shape};
use crate::metrics::Metrics;
use crate::models::{Demand, Models, Refused, unfit};
use crate::served::Served;

/// Where jobs come into a lane. While one is held more may come; with the last one the lane's line is closed.
pub struct Entrance(Arc<Lane>);

impl Entrance {
    /// The lane behind it, which does not stay open for whoever holds this.
    #[must_use]
    pub fn lane(&self) -> &Arc<Lane> {
        &self.0
    }
}

impl Deref for Entrance {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.0
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.line.close();
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Each lane, when it is opened: for whoever forms its batches. Not bounded, since lanes are few.
pub type Opened = mpsc::UnboundedReceiver<Arc<Lane>>;

/// The lanes of all model versions that are served. The last one who holds this closes them.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shape: Shape,
    metrics: Arc<Metrics>,
    table: ArcSwap<Table>,
    /// Held by whoever changes the table.
    changing: Mutex<()>,
    /// What the table holds, for those who want to hear of its changes.
    models: watch::Sender<Models>,
    opened: mpsc::UnboundedSender<Arc<Lane>>,
    /// For versions that only a request wants; none where they are not served.
    demand: Option<Arc<Demand>>,
}

/// What requests find: the models, and in their order the entrance to each one's lane.
#[derive(Debug)]
struct Table {
    models: Models,
    entrances: Vec<Arc<Entrance>>,
}

/// What a request finds.
#[derive(Debug)]
pub struct Found {
    /// Where it is answered.
    pub entrance: Arc<Entrance>,
    /// The lane of a version that is to compute it as well.
    pub beside: Option<Arc<Lane>>,
}

/// [`Lanes`], without keeping them open.
#[derive(Clone, Debug)]
pub struct WeakLanes(Weak<Inner>);

impl WeakLanes {
    /// Nothing where they are closed.
    #[must_use]
    pub fn upgrade(&self) -> Option<Lanes> {
        self.0.upgrade().map(Lanes)
    }
}

impl Lanes {
    /// One for each model version, each of which comes by the other value as well, and more on `demand`.
    #[must_use]
    pub fn new(
        models: &Models,
        shape: Shape,
        metrics: Arc<Metrics>,
        demand: Option<Arc<Demand>>,
    ) -> (Self, Opened) {
        let (opened, lanes) = mpsc::unbounded_channel();
        let table = ArcSwap::from_pointee(Table { models: models.clone(), entrances: Vec::new() });
        let (changing, models) = (Mutex::default(), watch::Sender::new(models.clone()));
        let new = Self(Arc::new(Inner { shape, metrics, table, changing, models, opened, demand }));
        new.update(Models::clone, None);
        (new, lanes)
    }

    /// What requests find now.
    #[must_use]
    pub fn models(&self) -> Models {
        self.0.models.borrow().clone()
    }

    /// What requests find, now and whenever it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Models> {
        self.0.models.subscribe()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Lane>> {
        let table = self.0.table.load();
        table.models.distinct().map(|(at, _)| Arc::clone(table.entrances[at].lane())).collect()
    }

    /// The one that a request with that key means; see [`Models::find`]. A version that nothing else wants is served from now on, where that is
    /// allowed: its jobs wait until it is loaded.
    ///
    /// # Errors
    /// What the asker is told where it is not served here.
    pub fn find(&self, name: Option<&str>, version: Option<u32>, key: &[u8]) -> Result<Found, ErrorReply> {
        let found = self.lookup(name, version, key);
        let (Err(reply), Some(demand), Some(version)) = (&found, &self.0.demand, version) else {
            return found;
        };
        let Some(wanted) = self.0.table.load().models.on_demand(name, version) else { return found };
        let _turn = self.turn();
        // Somebody else may have asked for it a moment ago.
        if let Ok(found) = self.lookup(name, Some(version), key) {
            return Ok(found);
        }
        let served = demand.open(&wanted, version).map_err(|refused| match refused {
            Refused::Absent => reply.clone(),
            Refused::AsBefore => unfit(),
            Refused::Unfit(skipped) => {
                self.0.metrics.model_loaded(&wanted.name, false);
                self.change(|models| models.with_one_skipped(skipped), None);
                unfit()
            }
        })?;
        self.change(|models| models.with(&wanted, Arc::new(served)), None);
        let found = self.lookup(name, Some(version), key)?;
        demand.load(wanted, Arc::clone(found.entrance.lane()));
        Ok(found)
    }

    fn lookup(&self, name: Option<&str>, version: Option<u32>, key: &[u8]) -> Result<Found, ErrorReply> {
        let table = self.0.table.load();
        let position = table.models.position(name, version, Some(key))?;
        let entrance = Arc::clone(&table.entrances[position.answers]);
        entrance.model.used();
        let beside = position.beside.map(|at| Arc::clone(table.entrances[at].lane()));
        Ok(Found { entrance, beside })
    }

    /// The lane of that version, where requests find it.
    #[must_use]
    pub fn lane_of(&self, served: &Arc<Served>) -> Option<Arc<Lane>> {
        self.all().into_iter().find(|lane| Arc::ptr_eq(&lane.model, served))
    }

    /// A lane that nobody finds yet.
    #[must_use]
    pub fn prepare(&self, model: Arc<Served>) -> Lane {
        Lane::new(model, &self.0.shape, &self.0.metrics)
    }

    /// From now on requests find the lanes of other models: those that are there already, the one prepared, and new ones for what
    /// has neither. Lanes of models that are not among them take what is on its way to them, and end.
    pub fn update(&self, change: impl FnOnce(&Models) -> Models, prepared: Option<Lane>) {
        let _turn = self.turn();
        self.change(change, prepared);
    }

    fn turn(&self) -> impl Drop + '_ {
        self.0.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&Models) -> Models, prepared: Option<Lane>) {
        let before = self.0.table.load_full();
        let models = change(&before.models);
        let mut prepared = prepared.map(Arc::new);
        let mut entrances: Vec<Arc<Entrance>> = Vec::new();
        for model in models.served() {
            let same = |entrance: &&Arc<Entrance>| Arc::ptr_eq(&entrance.model, model);
            let there = entrances.iter().chain(&before.entrances).find(same).map(Arc::clone);
            entrances.push(there.unwrap_or_else(|| {
                let lane = prepared.take_if(|lane| Arc::ptr_eq(&lane.model, model));
                let lane = lane.unwrap_or_else(|| Arc::new(self.prepare(Arc::clone(model))));
                // Nobody listens any more where the worker ends.
                drop(self.0.opened.send(Arc::clone(&lane)));
                Arc::new(Entrance(lane))
            }));
        }
        for gone in before.models.iter().filter(|gone| models.wanted_by(gone).next().is_none()) {
            self.0.metrics.model_memory(&gone.id, None);
        }
        for served in models.iter() {
            self.0.metrics.model_memory(&served.id, Some(served.memory()));
        }
        self.0.models.send_replace(models.clone());
        self.0.table.store(Arc::new(Table { models, entrances }));
    }

    /// They, without keeping them open.
    #[must_use]
    pub fn downgrade(&self) -> WeakLanes {
        WeakLanes(Arc::downgrade(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles;
    use registry::Select;

    #[tokio::test(start_paused = true)]
    async fn what_two_mean_is_opened_once_and_ends_when_the_last_lanes_are_gone() {
        let served = Arc::new(doubles::served("bird", 1));
        let models = Models::new(vec![doubles::served("bird", 2)], "bird", "weights").unwrap();
        let latest = crate::models::Wanted { select: Some(Select::Latest), ..doubles::wanted("bird") };
        let models = models.with(&doubles::wanted("bird"), Arc::clone(&served)).with(&latest, served);
        let shape = doubles::shape(crate::lane::Queue::default());
        let (lanes, mut opened) = Lanes::new(&models, shape, Arc::default(), None);
        let names: Vec<_> = lanes.all().iter().map(|lane| format!("{lane:?}")).collect();
        assert_eq!(names, ["bird 2", "bird 1"]);
        let (first, second) = (opened.recv().await.unwrap(), opened.recv().await.unwrap());
        assert!(opened.try_recv().is_err(), "a lane of its own for each");

        let weak = lanes.downgrade();
        drop(lanes);
        assert!(weak.upgrade().is_none() && opened.recv().await.is_none());
        assert!([first, second].iter().all(|lane| lane.line.waiting().closed));
    }
}
