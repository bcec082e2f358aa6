//! A lane is a model version that is served and the line of jobs that wait for it. Decode finds a request's lane, and the
//! job holds it from there on: queue puts the job into its lane's line, batch takes it out, infer computes it.

mod config;
mod line;

use std::fmt;
use std::sync::Arc;

use wire::ErrorReply;

pub use config::Queue;
pub use line::{Line, Waiting};

use crate::metrics::{Metrics, ModelMetrics};
use crate::models::Models;
use crate::served::Served;

/// One lane.
pub struct Lane {
    /// The model version.
    pub model: Arc<Served>,
    /// The jobs that wait for it.
    pub line: Line,
    /// What is counted for it.
    pub metrics: ModelMetrics,
}

impl Lane {
    /// One in which nobody waits yet.
    #[must_use]
    pub fn new(model: Arc<Served>, queue: &Queue, metrics: &Metrics) -> Self {
        let metrics = metrics.of(&model.id);
        let line = Line::new(queue, metrics.pending.clone());
        Self { model, line, metrics }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model.fmt(f)
    }
}

/// The lanes of all model versions that are served.
#[derive(Clone, Debug)]
pub struct Lanes {
    models: Models,
    lanes: Vec<Arc<Lane>>,
}

impl Lanes {
    /// One for each model version.
    #[must_use]
    pub fn new(models: &Models, queue: &Queue, metrics: &Metrics) -> Self {
        let lane = |model: &Arc<Served>| Arc::new(Lane::new(Arc::clone(model), queue, metrics));
        Self { models: models.clone(), lanes: models.iter().map(lane).collect() }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.iter()
    }

    /// The one that a request means; see [`Models::find`].
    ///
    /// # Errors
    /// What the asker is told where it is not served here.
    pub fn find(&self, name: Option<&str>, version: Option<u32>) -> Result<&Arc<Lane>, ErrorReply> {
        self.models.position(name, version).map(|at| &self.lanes[at])
    }
}
