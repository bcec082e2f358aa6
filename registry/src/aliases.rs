//! What the aliases of a registry name: look, promote, roll back; and delete, which is for what none of them names.

use jiff::Timestamp;

use crate::error::RegistryError;
use crate::history::{self, Author, Change, FOLDER as HISTORY, History, Kind, Seen};
use crate::name::is_plain_name;
use crate::registry::{Registry, key};
use crate::select::Select;
use crate::store::EntryKind;
use crate::trial::Trial;

/// Where an alias goes.
pub(crate) struct Step {
    kind: Kind,
    to: u32,
    /// That version's.
    digest: String,
    /// What is tried out from then on, as the kind says.
    trial: Option<Trial>,
}

impl Step {
    pub(crate) fn to(kind: Kind, to: u32, digest: String) -> Self {
        Self { kind, to, digest, trial: None }
    }

    pub(crate) fn trying_out(self, trial: Trial) -> Self {
        Self { trial: Some(trial), ..self }
    }
}

impl Registry {
    /// What `alias` names now. It may name nothing.
    ///
    /// # Errors
    /// If there is no such model, the alias is no plain name, or its history cannot be read.
    pub fn alias(&self, name: &str, alias: &str) -> Result<Seen, RegistryError> {
        self.known_model(name)?;
        self.history_of(name, alias)?.seen()
    }

    /// A model's aliases, sorted, and the version that each names.
    ///
    /// # Errors
    /// If there is no such model, its folder cannot be read, or a history cannot.
    pub fn aliases(&self, name: &str) -> Result<Vec<(String, u32)>, RegistryError> {
        let seen = self.all_seen(name)?.into_iter();
        Ok(seen.filter_map(|(alias, seen)| Some((alias, seen.version?))).collect())
    }

    /// A model's aliases, sorted, and what each names; and names that might be one's and name nothing.
    fn all_seen(&self, name: &str) -> Result<Vec<(String, Seen)>, RegistryError> {
        self.known_model(name)?;
        let of_kind = |folder: &str, wanted: fn(EntryKind) -> bool| {
            let entries = self.store.list(folder)?.into_iter().filter(|entry| wanted(entry.kind));
            Ok::<Vec<_>, RegistryError>(entries.map(|entry| entry.name).collect())
        };
        let recorded = of_kind(&format!("{name}/{HISTORY}"), |kind| kind == EntryKind::Folder)?;
        let files = of_kind(name, |kind| matches!(kind, EntryKind::File(_)))?;
        let mut names = [recorded.clone(), files].concat();
        names.sort();
        names.dedup();
        let mut aliases = Vec::new();
        for alias in names {
            let Ok(history) = self.history_of(name, &alias) else { continue };
            let seen = match history.seen() {
                Ok(seen) => seen,
                // Other files may lie here too: an alias is one that holds a number.
                Err(_) if !recorded.contains(&alias) => continue,
                Err(error) => return Err(error),
            };
            aliases.push((alias, seen));
        }
        Ok(aliases)
    }

    /// What is served or tried out, sorted by the names of the aliases that say so, and the version: what may not be taken away.
    ///
    /// # Errors
    /// As [`aliases`](Self::aliases).
    pub fn in_service(&self, name: &str) -> Result<Vec<(String, u32)>, RegistryError> {
        let mut all = Vec::new();
        for (alias, Seen { version, canary, shadow, .. }) in self.all_seen(name)? {
            let tried = [(canary, "canary"), (shadow, "shadow")]
                .map(|(trial, what)| trial.map(|trial: Trial| (format!("{alias} ({what})"), trial.version)));
            all.extend(version.map(|version| (alias, version)));
            all.extend(tried.into_iter().flatten());
        }
        Ok(all)
    }

    /// All changes of an alias, the first first; none where it was written by hand, or is not there.
    ///
    /// # Errors
    /// As [`alias`](Self::alias).
    pub fn history(&self, name: &str, alias: &str) -> Result<Vec<Change>, RegistryError> {
        self.known_model(name)?;
        self.history_of(name, alias)?.entries()
    }

    /// Lets `alias` name a version, which is opened and each of its files read and checked first. Readers see the old number or the
    /// new one, nothing between. None of `seen`: whatever it names now.
    ///
    /// # Errors
    /// If there is no such version, it is damaged, the alias names something else than was `seen`, is no plain name, or writing
    /// fails.
    pub fn promote(
        &self,
        name: &str,
        alias: &str,
        version: u32,
        author: &Author,
        seen: Option<&Seen>,
    ) -> Result<Change, RegistryError> {
        let history = self.history_of(name, alias)?;
        let digest = self.verified(name, version)?;
        let seen = seen.map_or_else(|| history.seen(), |seen| Ok(seen.clone()))?;
        self.change(&history, Step::to(Kind::Promote, version, digest), author, &seen)
    }

    /// Lets `alias` name a version where it names none yet; whether it does so now. Of several who ask at once one is heard.
    ///
    /// # Errors
    /// As [`promote`](Self::promote).
    pub fn promote_first(
        &self,
        name: &str,
        alias: &str,
        version: u32,
        author: &Author,
    ) -> Result<bool, RegistryError> {
        let seen = self.history_of(name, alias)?.seen()?;
        if seen.version.is_some() {
            return Ok(false);
        }
        match self.promote(name, alias, version, author, Some(&seen)) {
            Ok(_) => Ok(true),
            Err(RegistryError::ChangedMeanwhile { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets `alias` name a version that it named before: `to`, or the one before the present one was promoted. Where another version is
    /// tried out beside it, that ends, and without `to` nothing else changes. Right after that it wants `to`.
    ///
    /// # Errors
    /// As [`promote`](Self::promote), and if its history holds no such version.
    pub fn rollback(
        &self,
        name: &str,
        alias: &str,
        to: Option<u32>,
        author: &Author,
    ) -> Result<Change, RegistryError> {
        self.known_model(name)?;
        let history = self.history_of(name, alias)?;
        let seen = history.seen()?;
        let changes = history.entries()?;
        let nowhere = || RegistryError::NoRollback { name: name.into(), alias: alias.into(), to };
        let known = |version: &u32| {
            changes.iter().any(|change| change.to == *version || change.from == Some(*version))
                && (seen.version != Some(*version) || seen.trial().is_some())
        };
        // Whoever ends what is tried out, and is not the first to do so, must not end what is in service.
        if let (None, None, Some(last)) = (to, seen.trial(), changes.last())
            && last.kind == Kind::Rollback
            && last.from == Some(last.to)
        {
            let (name, alias, by) = (name.into(), alias.into(), last.by.clone());
            return Err(RegistryError::TrialOver { name, alias, by, before: history::before(&changes) });
        }
        let version = match to {
            Some(version) => Some(version).filter(known),
            None if seen.trial().is_some() => seen.version,
            None => history::before(&changes),
        };
        let version = version.ok_or_else(nowhere)?;
        let digest = self.verified(name, version)?;
        self.change(&history, Step::to(Kind::Rollback, version, digest), author, &seen)
    }

    /// The version that [`rollback`](Self::rollback) goes to if it is told none.
    ///
    /// # Errors
    /// As [`alias`](Self::alias).
    pub fn before(&self, name: &str, alias: &str) -> Result<Option<u32>, RegistryError> {
        Ok(history::before(&self.history(name, alias)?))
    }

    /// Takes a version away. Readers see all of it or nothing. In an object store also what somebody left there who broke off before the
    /// version was published.
    ///
    /// # Errors
    /// If there is no such version, an alias names it, or its folder cannot be removed.
    pub fn delete(&self, name: &str, version: u32) -> Result<(), RegistryError> {
        if self.store.list(&key(name, version))?.is_empty() {
            self.resolve(name, &Select::Version(version))?;
        }
        self.not_in_service(name, version)?;
        self.store.remove(name, version, &|| self.not_in_service(name, version))
    }

    fn not_in_service(&self, name: &str, version: u32) -> Result<(), RegistryError> {
        match self.in_service(name)?.into_iter().find(|(_, named)| *named == version) {
            Some((alias, _)) => Err(RegistryError::InService { name: name.into(), version, alias }),
            None => Ok(()),
        }
    }

    /// The digest of a version whose files were all read and are the manifest's; those that are not fetched are passed over.
    pub(crate) fn verified(&self, name: &str, version: u32) -> Result<String, RegistryError> {
        let version = self.load(name, &Select::Version(version))?;
        for artifact in version.artifacts() {
            version.read(artifact.engine)?;
        }
        version.samples()?;
        Ok(version.digest)
    }

    pub(crate) fn change(
        &self,
        history: &History<'_>,
        step: Step,
        author: &Author,
        seen: &Seen,
    ) -> Result<Change, RegistryError> {
        let Step { kind, to, digest, trial } = step;
        let (name, alias) = (history.model, history.alias);
        let author = author.clone();
        let change = Change {
            number: seen.number.saturating_add(1),
            alias: alias.into(),
            kind,
            from: seen.version,
            to,
            digest,
            at: Timestamp::now(),
            by: author.by,
            reason: author.reason,
            evidence: author.evidence,
            canary: trial.clone().filter(|_| kind == Kind::Canary),
            shadow: trial.filter(|_| kind == Kind::Shadow),
        };
        let meanwhile = |found: Option<u32>| RegistryError::ChangedMeanwhile {
            name: name.into(),
            alias: alias.into(),
            found,
        };
        // An alias that was written by hand since has no entry whose place is taken.
        let now = history.seen()?;
        if (now.version, now.number) != (seen.version, seen.number) {
            return Err(meanwhile(now.version));
        }
        if !history.add(&change)? {
            return Err(meanwhile(history.seen()?.version));
        }
        // Who deleted it before it was in service did so rightly.
        let (versions, tried) = (self.versions(name)?, change.trial().map(|trial| trial.version));
        if let Some(gone) = tried.into_iter().chain([to]).find(|version| !versions.contains(version)) {
            if let Some(from) = seen.version {
                let reason = Some(format!("version {gone} was deleted meanwhile"));
                let author = Author { by: change.by.clone(), reason, evidence: None };
                let digest = self.load(name, &Select::Version(from))?.digest;
                let seen = Seen::after(&change, change.number, Some(to));
                self.change(history, Step::to(Kind::Rollback, from, digest), &author, &seen)?;
            }
            return Err(RegistryError::UnknownVersion {
                name: name.into(),
                version: gone,
                known: self.known(name)?,
            });
        }
        Ok(change)
    }

    pub(crate) fn history_of<'a>(
        &'a self,
        model: &'a str,
        alias: &'a str,
    ) -> Result<History<'a>, RegistryError> {
        if !is_plain_name(model) {
            return Err(RegistryError::BadName { name: model.into() });
        }
        if alias == HISTORY || !matches!(alias.parse(), Ok(Select::Alias(_))) {
            return Err(RegistryError::BadSelect { text: alias.into() });
        }
        Ok(History { store: &*self.store, model, alias })
    }
}
