//! The lanes that requests find, as they are at this moment.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use wire::ErrorReply;

use super::{Lane, Shape};
use crate::metrics::Metrics;
use crate::models::Models;
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
    opened: mpsc::UnboundedSender<Arc<Lane>>,
}

/// What requests find: the models, and in their order the entrance to each one's lane.
#[derive(Debug)]
struct Table {
    models: Models,
    entrances: Vec<Arc<Entrance>>,
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
    /// One for each model version, each of which comes by the other value as well.
    #[must_use]
    pub fn new(models: &Models, shape: Shape, metrics: Arc<Metrics>) -> (Self, Opened) {
        let (opened, lanes) = mpsc::unbounded_channel();
        let nothing = Table { models: models.clone(), entrances: Vec::new() };
        let inner = Inner { shape, metrics, table: ArcSwap::from_pointee(nothing), opened };
        let new = Self(Arc::new(inner));
        new.open(models.clone(), Vec::new());
        (new, lanes)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Lane>> {
        let table = self.0.table.load();
        table.models.distinct().map(|(at, _)| Arc::clone(table.entrances[at].lane())).collect()
    }

    /// The one that a request means; see [`Models::find`].
    ///
    /// # Errors
    /// What the asker is told where it is not served here.
    pub fn find(&self, name: Option<&str>, version: Option<u32>) -> Result<Arc<Entrance>, ErrorReply> {
        let table = self.0.table.load();
        table.models.position(name, version).map(|at| Arc::clone(&table.entrances[at]))
    }

    /// A lane that nobody finds yet.
    #[must_use]
    pub fn prepare(&self, model: Arc<Served>) -> Lane {
        Lane::new(model, &self.0.shape, &self.0.metrics)
    }

    /// From now on requests find the lanes of these models: those that are there already, those prepared, and new ones for what
    /// has neither. Lanes of models that are not among them take what is on its way to them, and end.
    ///
    /// Of several who call this at once the last one stands.
    pub fn open(&self, models: Models, prepared: Vec<Lane>) {
        let before = self.0.table.load_full();
        let mut entrances: Vec<Arc<Entrance>> = Vec::new();
        let mut prepared: Vec<_> = prepared.into_iter().map(Arc::new).collect();
        for model in models.served() {
            let same = |entrance: &&Arc<Entrance>| Arc::ptr_eq(&entrance.model, model);
            let there = entrances.iter().chain(&before.entrances).find(same).map(Arc::clone);
            entrances.push(there.unwrap_or_else(|| {
                let at = prepared.iter().position(|lane| Arc::ptr_eq(&lane.model, model));
                let lane = at
                    .map_or_else(|| Arc::new(self.prepare(Arc::clone(model))), |at| prepared.swap_remove(at));
                // Nobody listens any more where the worker ends.
                drop(self.0.opened.send(Arc::clone(&lane)));
                Arc::new(Entrance(lane))
            }));
        }
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
        let (lanes, mut opened) = Lanes::new(&models, shape, Arc::default());
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
