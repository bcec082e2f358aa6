//! What is served for what is wanted, and which of it a request means.

use std::sync::Arc;

use registry::Select;
use wire::{ErrorCode, ErrorReply};

#[cfg(test)]
use super::Choice;
use super::ticket::ticket;
use super::{ModelsError, Part, Skipped, Wanted};
use crate::memory;
use crate::served::{LoadError, NotLoaded, Served};

/// All that are served, and those that would be if their files were whole: a state that a promotion replaces by another.
#[derive(Clone, Debug)]
pub struct Models {
    entries: Vec<Entry>,
    skipped: Vec<Skipped>,
    default: String,
    /// They are named in the configuration: that one of them can't be served is an error.
    named: bool,
}

/// One thing that is to be served, and what serves it now. Of two that mean the same version both have the same.
#[derive(Clone, Debug)]
struct Entry {
    wanted: Wanted,
    served: Arc<Served>,
    share: Share,
}

/// By what a version is tried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many of a hundred requests.
    pub percent: u8,
    /// What it answers is computed by the version that is meant too.
    pub compared: bool,
}

/// What is served to a request, by its place in the order of [`Models::served`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// What answers it.
    pub answers: usize,
    /// What computes it too, where something does.
    pub beside: Option<usize>,
}

impl Models {
    /// Those, beside none that can't be served.
    #[cfg(test)]
    pub fn new(served: Vec<Served>, default: &str, root: &str) -> Result<Self, ModelsError> {
        Self::with_skipped(served, Vec::new(), default, root)
    }

    /// Those in `served`, as by their numbers, beside others that can't be served.
    #[cfg(test)]
    pub fn with_skipped(
        served: Vec<Served>,
        skipped: Vec<Skipped>,
        default: &str,
        root: &str,
    ) -> Result<Self, ModelsError> {
        let entry = |served: Served| {
            let select = Some(Select::Version(served.id.version));
            let (name, engine) = (served.id.name.clone(), Choice::default());
            let wanted = Wanted { name, select, engine, part: Part::Meant };
            (wanted, Arc::new(served))
        };
        Self::of(served.into_iter().map(entry).collect(), skipped, default, root)
    }

    /// What is wanted and what serves it, beside others that can't be served; `default` is the one that a request without a name
    /// means. It may be one of the others: requests that mean it are told so.
    ///
    /// # Errors
    /// [`ModelsError`] where there are none, one is wanted twice, or the default is not among them.
    pub(super) fn of(
        served: Vec<(Wanted, Arc<Served>)>,
        skipped: Vec<Skipped>,
        default: &str,
        root: &str,
    ) -> Result<Self, ModelsError> {
        if served.is_empty() && skipped.is_empty() {
            return Err(ModelsError::None { root: root.to_owned() });
        }
        if served.is_empty() {
            return Err(ModelsError::none_left(&skipped));
        }
        for (i, (wanted, model)) in served.iter().enumerate() {
            let same = |other: &Wanted| other.name == wanted.name && other.select == wanted.select;
            if served[..i].iter().any(|(other, _)| same(other)) {
                return Err(ModelsError::Twice { name: wanted.name.clone(), version: model.id.version });
            }
        }
        let entry = |(wanted, served)| Entry { wanted, served, share: Share::default() };
        let entries = served.into_iter().map(entry).collect();
        let models = Self { entries, skipped, default: default.to_owned(), named: true };
        if models.entries.iter().any(|entry| entry.wanted.name == default)
            || models.skipped.iter().any(|skipped| skipped.wanted.name == default)
        {
            Ok(models)
        } else {
            Err(ModelsError::Default { default: default.to_owned(), served: models.list() })
        }
    }

    /// Whether the configuration names them.
    pub(super) fn named(self, named: bool) -> Self {
        Self { named, ..self }
    }

    /// Reads their weights and tries each out, one after the other, as long as all together take no more than `limit` bytes (0: as
    /// much as there is). Of models that are not named but found, those that can't be loaded, or not be computed, are skipped.
    ///
    /// # Errors
    /// [`ModelsError`] where one that is named can't be loaded or computed, or none can.
    pub fn load(mut self, limit: u64) -> Result<Self, ModelsError> {
        let all: Vec<_> = self.iter().map(Arc::clone).collect();
        let mut held = 0;
        for model in all {
            // The last that is heard of a file whose code ends the process.
            tracing::info!("{model:?} is being loaded");
            let has_room = || memory::has_room(model.memory(), held, limit).map_err(LoadError::new);
            let Err(source) = has_room().and_then(|()| model.try_out()).and_then(|()| has_room()) else {
                held += model.memory();
                continue;
            };
            let error = NotLoaded { model: format!("{model:?}"), source };
            if self.named {
                return Err(error.into());
            }
            let (stay, go) = self.entries.into_iter().partition(|entry| !Arc::ptr_eq(&entry.served, &model));
            self.entries = stay;
            let go: Vec<Entry> = go;
            let skipped = |entry: &Entry| Skipped::new(&entry.wanted, Some(model.id.version), &error);
            self.skipped.extend(go.iter().map(skipped));
        }
        if self.entries.is_empty() { Err(ModelsError::none_left(&self.skipped)) } else { Ok(self) }
    }

    /// With that version for what is wanted, in the place of the one that serves it now, or behind all others.
    #[must_use]
    pub fn with(&self, wanted: &Wanted, served: Arc<Served>) -> Self {
        self.with_share(wanted, served, Share::default())
    }

    /// As [`Models::with`]; where it is tried out, by that share of the requests.
    #[must_use]
    pub fn with_share(&self, wanted: &Wanted, served: Arc<Served>, share: Share) -> Self {
        let mut new = self.clone();
        let entry = Entry { wanted: wanted.clone(), served, share };
        match new.place(wanted) {
            Some(at) => new.entries[at] = entry,
            None => new.entries.push(entry),
        }
        new.without_skipped(wanted)
    }

    /// Without that.
    #[must_use]
    pub fn without(&self, wanted: &Wanted) -> Self {
        let mut new = self.clone();
        new.entries.retain(|entry| entry.wanted != *wanted);
        new
    }

    /// What a request wants that names a version of a model which is served, and computed as that is; none where it is not.
    #[must_use]
    pub fn on_demand(&self, name: Option<&str>, version: u32) -> Option<Wanted> {
        let name = name.unwrap_or(&self.default);
        let of = self.entries.iter().map(|entry| &entry.wanted).find(|wanted| wanted.name == name)?;
        Some(Wanted { select: Some(Select::Version(version)), part: Part::Meant, ..of.clone() })
    }

    /// All that this version serves.
    pub fn wanted_by<'a>(&'a self, served: &'a Arc<Served>) -> impl Iterator<Item = &'a Wanted> {
        self.entries.iter().filter(|entry| Arc::ptr_eq(&entry.served, served)).map(|entry| &entry.wanted)
    }

    /// With that beside what is served.
    #[must_use]
    pub fn with_one_skipped(&self, skipped: Skipped) -> Self {
        let mut new = self.without_skipped(&skipped.wanted);
        new.skipped.push(skipped);
        new
    }

    /// With nothing to say against what is wanted.
    #[must_use]
    pub fn without_skipped(&self, wanted: &Wanted) -> Self {
        let mut new = self.clone();
        new.skipped.retain(|skipped| skipped.wanted != *wanted);
        new
    }

    /// What serves what is wanted.
    #[must_use]
    pub fn serving(&self, wanted: &Wanted) -> Option<&Arc<Served>> {
        self.place(wanted).map(|at| &self.entries[at].served)
    }

    /// By what what is tried out is.
    #[must_use]
    pub fn share(&self, wanted: &Wanted) -> Share {
        self.place(wanted).map_or_else(Share::default, |at| self.entries[at].share)
    }

    /// How many of a hundred requests that name the model and no version this one answers, where another one answers the rest.
    #[must_use]
    pub fn percent(&self, served: &Served) -> Option<u8> {
        let (first, canary) = self.tried_out(served, Part::Canary)?;
        match served.id.version {
            version if version == canary.served.id.version => Some(canary.share.percent),
            version if version == first.served.id.version => Some(100 - canary.share.percent),
            _ => None,
        }
    }

    /// How many of a hundred of those requests this one computes and does not answer.
    #[must_use]
    pub fn shadow_percent(&self, served: &Served) -> Option<u8> {
        let (_, shadow) = self.tried_out(served, Part::Shadow)?;
        (shadow.served.id.version == served.id.version).then_some(shadow.share.percent)
    }

    /// The version of its model that a request means which names none, and what is tried out beside that.
    fn tried_out(&self, served: &Served, part: Part) -> Option<(&Entry, &Entry)> {
        let first = self.position(Some(&served.id.name), None, None).ok()?.answers;
        let beside = self.beside(first, part)?;
        Some((&self.entries[first], &self.entries[beside]))
    }

    /// What is tried out beside that.
    fn beside(&self, at: usize, part: Part) -> Option<usize> {
        let first = &self.entries[at].wanted;
        self.entries.iter().position(|entry| entry.wanted.is_beside(first, part))
    }

    /// That version, where it is served, whoever wants it.
    #[must_use]
    pub fn version(&self, name: &str, version: u32) -> Option<&Arc<Served>> {
        self.served().find(|served| served.id.name == name && served.id.version == version)
    }

    fn place(&self, wanted: &Wanted) -> Option<usize> {
        self.entries.iter().position(|entry| entry.wanted == *wanted)
    }

    /// What serves each thing that is wanted, in their order.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.entries.iter().map(|entry| &entry.served)
    }

    /// Each version once, and its place in the order of [`Models::served`].
    pub fn distinct(&self) -> impl Iterator<Item = (usize, &Arc<Served>)> {
        let before = |at: usize| self.served().take(at);
        let first =
            move |(at, model): &(usize, &Arc<Served>)| !before(*at).any(|other| Arc::ptr_eq(other, model));
        self.served().enumerate().filter(first)
    }

    /// Each version that is served, once.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.distinct().map(|(_, model)| model)
    }

    /// Those that can't be served.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether it answers a request that names no model.
    #[must_use]
    pub fn is_default(&self, served: &Served) -> bool {
        self.find(None, None).is_ok_and(|found| found.id == served.id)
    }

    /// The one that a request means: without a name the default, without a version the first one configured.
    ///
    /// # Errors
    /// `NOT_FOUND` where it is not served here; `UNAVAILABLE` where it would be if its files were whole.
    pub fn find(&self, name: Option<&str>, version: Option<u32>) -> Result<&Arc<Served>, ErrorReply> {
        self.position(name, version, None).map(|at| &self.entries[at.answers].served)
    }

    /// As [`Models::find`], its place in the order of [`Models::served`]. A request without a version is answered by the one that is tried
    /// out where its key's [`ticket`] is among that one's share, and computed by a shadow likewise.
    pub(crate) fn position(
        &self,
        name: Option<&str>,
        version: Option<u32>,
        key: Option<&[u8]>,
    ) -> Result<Position, ErrorReply> {
        let name = name.unwrap_or(&self.default);
        let named = self.entries.iter().enumerate().filter(|(_, entry)| entry.served.id.name == name);
        let mut named = named.peekable();
        let not_found = |message: String| ErrorReply::new(ErrorCode::NotFound, message);
        if named.peek().is_none() {
            if self.skipped.iter().any(|skipped| skipped.wanted.name == name) {
                let message = format!("model '{name}' can't be served by this worker: its log says why");
                return Err(ErrorReply::new(ErrorCode::Unavailable, message));
            }
            let (name, served) = (wire::quoted(name), self.list());
            return Err(not_found(format!("model '{name}' is not served here; there are: {served}")));
        }
        let means = |entry: &Entry| match version {
            Some(version) => entry.served.id.version == version,
            None => entry.wanted.part == Part::Meant,
        };
        let Some((found, _)) = named.find(|(_, entry)| means(entry)) else {
            let version = version.unwrap_or_default();
            let message =
                format!("version {version} of {name} is not served here; there are: {}", self.list());
            return Err(not_found(message));
        };
        let alone = Position { answers: found, beside: None };
        let (Some(key), None) = (key, version) else { return Ok(alone) };
        let meets =
            |part: Part| self.beside(found, part).filter(|at| ticket(key) < self.entries[*at].share.percent);
        if let Some(canary) = meets(Part::Canary) {
            let beside = self.entries[canary].share.compared.then_some(found);
            return Ok(Position { answers: canary, beside });
        }
        Ok(Position { beside: meets(Part::Shadow), ..alone })
    }

    pub(super) fn list(&self) -> String {
        let names: Vec<_> = self.iter().map(|m| format!("{:?}", **m)).collect();
        names.join(", ")
    }
}
