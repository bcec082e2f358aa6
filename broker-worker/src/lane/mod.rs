//! A lane is a model version that is served, the line of jobs that wait for it, and the engines that compute them. Decode finds
//! a request's lane, and the job holds it from there on: queue puts the job into its lane's line, batch takes it out, infer
//! computes it.
//!
//! Another version comes into service as a new lane in the place of the old one. Whoever found the old one still gets in: its
//! line is closed when the last [`Entrance`] to it is gone, and the lane goes, and its engines with it, behind its last job.

mod config;
mod line;
mod table;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model_core::Engine;

pub use config::Queue;
pub use line::{Line, Waiting};
pub use table::{Entrance, Found, Lanes, Opened, WeakLanes};

use crate::memory;
use crate::metrics::{Metrics, ModelMetrics};
use crate::served::{LoadError, NotLoaded, Served};

/// What all lanes of a worker have in common.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Who may wait, and how long.
    pub queue: Queue,
    /// How many instances compute: an engine of a lane for each.
    pub instances: usize,
    /// As many images as are computed at once.
    pub max_batch_size: usize,
}

/// The engine of one instance; none where it is not loaded yet, or panicked and could not be loaded anew.
type Slot = Option<Box<dyn Engine>>;

/// One lane.
pub struct Lane {
    /// The model version.
    pub model: Arc<Served>,
    /// The jobs that wait for it.
    pub line: Line,
    /// What is counted for it.
    pub metrics: ModelMetrics,
    /// For each instance its own, so that none waits for another.
    engines: Vec<Mutex<Slot>>,
    /// For what is computed beside an answer.
    spare: Mutex<Slot>,
    max_batch_size: usize,
}

impl Lane {
    /// One in which nobody waits yet, with no engine loaded.
    #[must_use]
    pub fn new(model: Arc<Served>, shape: &Shape, metrics: &Metrics) -> Self {
        let metrics = metrics.of(&model.id);
        let line = Line::new(&shape.queue, metrics.pending.clone());
        let engines = (0..shape.instances).map(|_| Mutex::default()).collect();
        Self { model, line, metrics, engines, spare: Mutex::default(), max_batch_size: shape.max_batch_size }
    }

    /// Loads the engine of that instance and runs it until its speed is steady.
    ///
    /// # Errors
    /// [`NotLoaded`] where it can't be loaded or computed.
    pub fn warm(&self, instance: usize) -> Result<(), NotLoaded> {
        let (engine, grown) = memory::growth(|| self.warmed(self.model.engine()))
            .map_err(|source| NotLoaded { model: format!("{self:?}"), source })?;
        self.model.grew(grown);
        *self.engine(instance) = Some(engine);
        Ok(())
    }

    /// As [`Lane::warm`], for all instances.
    ///
    /// # Errors
    /// As [`Lane::warm`].
    pub fn warm_all(&self) -> Result<(), NotLoaded> {
        (0..self.engines.len()).try_for_each(|instance| self.warm(instance))
    }

    /// Reads the weights, tries them, and has an engine warm for each instance, on a thread that serves nobody.
    ///
    /// # Errors
    /// As [`Lane::warm`].
    pub fn load(&self) -> Result<(), NotLoaded> {
        self.model.try_out().map_err(|source| NotLoaded { model: format!("{self:?}"), source })?;
        self.warm_all()
    }

    /// A warm engine on weights that are read again, since nobody knows what became of those in memory.
    ///
    /// # Errors
    /// [`LoadError`] where it can't be loaded or computed.
    pub fn engine_anew(&self) -> Result<Box<dyn Engine>, LoadError> {
        self.warmed(self.model.engine_anew())
    }

    fn warmed(&self, engine: Result<Box<dyn Engine>, LoadError>) -> Result<Box<dyn Engine>, LoadError> {
        let mut engine = engine?;
        engine.warm_up(self.max_batch_size)?;
        Ok(engine)
    }

    /// The engine of that instance, which alone asks for it.
    pub fn engine(&self, instance: usize) -> MutexGuard<'_, Slot> {
        self.engines[instance].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine of whoever computes what another version answers; none until they load it.
    pub fn spare(&self) -> MutexGuard<'_, Slot> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model.fmt(f)
    }
}
