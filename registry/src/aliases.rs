//! What the aliases of a registry name: look, promote, roll back; and delete, which is for what none of them names.

use std::fs;

use jiff::Timestamp;

use crate::draft;
use crate::error::RegistryError;
use crate::history::{self, Author, Change, FOLDER as HISTORY, History, Kind, Seen};
use crate::name::is_plain_name;
use crate::registry::Registry;
use crate::select::Select;

impl Registry {
    /// What `alias` names now. It may name nothing.
    ///
    /// # Errors
    /// If there is no such model, the alias is no plain name, or its history cannot be read.
    pub fn alias(&self, name: &str, alias: &str) -> Result<Seen, RegistryError> {
        self.folder(name)?;
        self.history_of(name, alias)?.seen()
    }

    /// A model's aliases, sorted, and the version that each names.
    ///
    /// # Errors
    /// If there is no such model, its folder cannot be read, or a history cannot.
    pub fn aliases(&self, name: &str) -> Result<Vec<(String, u32)>, RegistryError> {
        let folder = self.folder(name)?;
        let recorded = self.store.list(&format!("{name}/{HISTORY}"))?;
        let mut names = [recorded.clone(), self.store.list(name)?].concat();
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
            if let Some(version) = seen.version
                && (recorded.contains(&alias) || folder.join(&alias).is_file())
            {
                aliases.push((alias, version));
            }
        }
        Ok(aliases)
    }

    /// All changes of an alias, the first first; none where it was written by hand, or is not there.
    ///
    /// # Errors
    /// As [`alias`](Self::alias).
    pub fn history(&self, name: &str, alias: &str) -> Result<Vec<Change>, RegistryError> {
        self.folder(name)?;
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
        self.change(&history, Kind::Promote, version, digest, author, &seen)
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

    /// Lets `alias` name a version that it named before: `to`, or the one before the present one was promoted.
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
        self.folder(name)?;
        let history = self.history_of(name, alias)?;
        let seen = history.seen()?;
        let changes = history.entries()?;
        let nowhere = || RegistryError::NoRollback { name: name.into(), alias: alias.into(), to };
        let known = |version: &u32| {
            changes.iter().any(|change| change.to == *version || change.from == Some(*version))
                && seen.version != Some(*version)
        };
        let version = match to {
            Some(version) => Some(version).filter(known),
            None => history::before(&changes),
        };
        let version = version.ok_or_else(nowhere)?;
        let digest = self.verified(name, version)?;
        self.change(&history, Kind::Rollback, version, digest, author, &seen)
    }

    /// The version that [`rollback`](Self::rollback) goes to if it is told none.
    ///
    /// # Errors
    /// As [`alias`](Self::alias).
    pub fn before(&self, name: &str, alias: &str) -> Result<Option<u32>, RegistryError> {
        Ok(history::before(&self.history(name, alias)?))
    }

    /// Takes a version away. Readers see all of it or nothing.
    ///
    /// # Errors
    /// If there is no such version, an alias names it, or its folder cannot be removed.
    pub fn delete(&self, name: &str, version: u32) -> Result<(), RegistryError> {
        self.resolve(name, &Select::Version(version))?;
        self.not_in_service(name, version)?;
        let model = self.root.join(name);
        let folder = model.join(version.to_string());
        let gone = draft::hidden(&model, version);
        fs::rename(&folder, &gone).map_err(RegistryError::io("remove", &folder))?;
        // Who promoted it meanwhile gets it back; who does so from now on does not find it.
        if let Err(error) = self.not_in_service(name, version) {
            fs::rename(&gone, &folder).map_err(RegistryError::io("put back", &folder))?;
            return Err(error);
        }
        fs::remove_dir_all(&gone).map_err(RegistryError::io("remove", &gone))
    }

    fn not_in_service(&self, name: &str, version: u32) -> Result<(), RegistryError> {
        match self.aliases(name)?.into_iter().find(|(_, named)| *named == version) {
            Some((alias, _)) => Err(RegistryError::InService { name: name.into(), version, alias }),
            None => Ok(()),
        }
    }

    /// The digest of a version whose files were all read and are the manifest's; those that are not fetched are passed over.
    fn verified(&self, name: &str, version: u32) -> Result<String, RegistryError> {
        let version = self.load(name, &Select::Version(version))?;
        for artifact in version.artifacts() {
            version.read(artifact.engine)?;
        }
        Ok(version.digest)
    }

    fn change(
        &self,
        history: &History<'_>,
        kind: Kind,
        to: u32,
        digest: String,
        author: &Author,
        seen: &Seen,
    ) -> Result<Change, RegistryError> {
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
        if !self.versions(name)?.contains(&to) {
            if let Some(from) = seen.version {
                let reason = Some(format!("version {to} was deleted meanwhile"));
                let author = Author { by: change.by.clone(), reason, evidence: None };
                let digest = self.load(name, &Select::Version(from))?.digest;
                let seen = Seen { version: Some(to), number: change.number, file: Some(to) };
                self.change(history, Kind::Rollback, from, digest, &author, &seen)?;
            }
            return Err(RegistryError::UnknownVersion {
                name: name.into(),
                version: to,
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
