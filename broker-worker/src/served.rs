//! A model version that is served: from an image file to the net's pixels, and from the net's outputs to labels. Plain data
//! on both sides of the engine, so that the rooms are tested without a net.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model_core::{Engine, EngineError, ImageError, Pixels, Scorer, try_sample};
use registry::Sample;
use tokio::sync::watch;
use wire::{ErrorReply, ModelId, Prediction};

use crate::memory;

/// Turns an image file into a net's input. Called on several threads at once; the same file always gets the same.
pub type Prepare = dyn Fn(&[u8]) -> Result<Pixels, ImageError> + Send + Sync;

/// Reads the weights and makes an engine of them.
pub type Load = dyn Fn() -> Result<Box<dyn Engine>, LoadError> + Send + Sync;

/// Reads the version's samples: what it should call each, and its file's bytes.
pub type Samples = dyn Fn() -> Result<Vec<(Sample, Vec<u8>)>, LoadError> + Send + Sync;

/// A model version that is served.
pub struct Served {
    /// Its name, version and digest.
    pub id: ModelId,
    /// The net's architecture, for the announcement.
    pub architecture: String,
    scorer: Scorer,
    prepare: Box<Prepare>,
    load: Box<Load>,
    samples: Box<Samples>,
    /// Loaded by the first instance; the others share its weights.
    first: Mutex<Option<Box<dyn Engine>>>,
    /// The one that was tried, for the first instance.
    tried: Mutex<Option<Box<dyn Engine>>>,
    state: watch::Sender<State>,
    /// When it was last asked for, by a clock that goes on with each request that asks for any.
    used: AtomicU64,
    memory: Memory,
}

/// Whether a version can be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being loaded, or waits for that.
    Loading,
    /// It can.
    Ready,
    /// It can't be loaded, and whoever asks for it is told so.
    Failed(ErrorReply),
}

/// What a version takes, in bytes.
#[derive(Debug, Default)]
struct Memory {
    /// The files that its engine reads.
    files: u64,
    /// By how much the process grew while it was loaded.
    grown: AtomicU64,
}

/// The clock of [`Served::used`].
static USES: AtomicU64 = AtomicU64::new(0);

/// Why a model version can't be served.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LoadError(Box<dyn Error + Send + Sync>);

/// A model version whose engine can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{model} can't be loaded")]
pub struct NotLoaded {
    /// Which.
    pub model: String,
    /// Why.
    pub source: LoadError,
}

impl LoadError {
    /// For that reason.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl From<EngineError> for LoadError {
    fn from(error: EngineError) -> Self {
        Self::new(error)
    }
}

impl Served {
    /// One that is loaded when the first engine is asked for.
    #[must_use]
    pub fn new(
        id: ModelId,
        architecture: String,
        scorer: Scorer,
        prepare: impl Fn(&[u8]) -> Result<Pixels, ImageError> + Send + Sync + 'static,
        load: impl Fn() -> Result<Box<dyn Engine>, LoadError> + Send + Sync + 'static,
    ) -> Self {
        let (prepare, load) = (Box::new(prepare), Box::new(load));
        Self {
            id,
            architecture,
            scorer,
            prepare,
            load,
            samples: Box::new(|| Ok(Vec::new())),
            first: Mutex::default(),
            tried: Mutex::default(),
            state: watch::Sender::new(State::Ready),
            used: AtomicU64::default(),
            memory: Memory::default(),
        }
    }

    /// With what is known of the files that its engine reads: how many bytes they have.
    #[must_use]
    pub fn with_files(mut self, bytes: u64) -> Self {
        self.memory.files = bytes;
        self
    }

    /// With images that it is held to before it serves.
    #[must_use]
    pub fn with_samples(
        mut self,
        samples: impl Fn() -> Result<Vec<(Sample, Vec<u8>)>, LoadError> + Send + Sync + 'static,
    ) -> Self {
        self.samples = Box::new(samples);
        self
    }

    /// One whose jobs wait until somebody says that it is loaded.
    #[must_use]
    pub fn not_loaded(self) -> Self {
        self.state.send_replace(State::Loading);
        self
    }

    /// It is loaded, or can't be.
    pub fn loaded(&self, outcome: Result<(), ErrorReply>) {
        self.state.send_replace(outcome.map_or_else(State::Failed, |()| State::Ready));
    }

    /// Whether it can be computed, now and whenever that changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Whether it can be computed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.state.borrow() == State::Ready
    }

    /// Somebody asks for it.
    pub fn used(&self) {
        self.used.store(USES.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The later it was asked for, the larger.
    #[must_use]
    pub fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The process grew by that much while it was loaded.
    pub(crate) fn grew(&self, bytes: u64) {
        self.memory.grown.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes it takes, about: by as much the process grew when it was loaded, and its files at the least.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory.grown.load(Ordering::Relaxed).max(self.memory.files)
    }

    /// How many labels it can answer with.
    #[must_use]
    pub fn labels(&self) -> u32 {
        let classes = self.scorer.classes();
        let labels = classes.labels.len() + usize::from(classes.reject.is_some());
        u32::try_from(labels).unwrap_or(u32::MAX)
    }

    /// The pixels that the net takes.
    ///
    /// # Errors
    /// [`ImageError`] where the file is not an image that can be used.
    pub fn prepare(&self, file: &[u8]) -> Result<Pixels, ImageError> {
        (self.prepare)(file)
    }

    /// Reads the weights, has an engine compute a blank image, since what loads may still not be computed, and name the version's samples.
    ///
    /// # Errors
    /// [`LoadError`] where they can't be read, are not that net's, it can't be computed, or calls a sample something else than its manifest
    /// does.
    pub fn try_out(&self) -> Result<(), LoadError> {
        let (engine, grown) = memory::growth(|| {
            let mut engine = self.shared(false)?;
            engine.warm_up(1)?;
            for (sample, bytes) in (self.samples)()? {
                let prepare = |file: &[u8]| self.prepare(file);
                try_sample(&mut *engine, &self.scorer, prepare, &sample, &bytes).map_err(LoadError::new)?;
            }
            Ok::<_, LoadError>(engine)
        })?;
        self.grew(grown);
        *self.tried() = Some(engine);
        Ok(())
    }

    /// An engine of one's own on the weights that all share. They are read when the first one is asked for.
    ///
    /// # Errors
    /// [`LoadError`] where they can't be read or are not that net's.
    pub fn engine(&self) -> Result<Box<dyn Engine>, LoadError> {
        let tried = self.tried().take();
        tried.map_or_else(|| self.shared(false), Ok)
    }

    fn tried(&self) -> MutexGuard<'_, Option<Box<dyn Engine>>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Served::engine`], on weights that are read again, since nobody knows what became of those in memory.
    ///
    /// # Errors
    /// As [`Served::engine`].
    pub fn engine_anew(&self) -> Result<Box<dyn Engine>, LoadError> {
        self.shared(true)
    }

    fn shared(&self, anew: bool) -> Result<Box<dyn Engine>, LoadError> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match &*first {
            Some(first) if !anew => Ok(first.share()?),
            _ => Ok(first.insert((self.load)()?).share()?),
        }
    }

    /// The most probable labels for an image, the most probable first, of the net's outputs for it.
    #[must_use]
    pub fn labelled(&self, pixels: &Pixels, logits: Vec<f32>, top_k: usize) -> Vec<Prediction> {
        let top = self.scorer.top_k(pixels, logits, top_k);
        let on_the_wire = |p: model_core::Prediction| Prediction {
            label: p.label,
            index: p.index,
            probability: p.probability,
        };
        top.into_iter().map(on_the_wire).collect()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id.name, self.id.version)
    }
}
