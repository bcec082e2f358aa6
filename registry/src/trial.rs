//! A version that is tried out beside the one that an alias names: by a share of the requests, which it answers (a canary) or only
//! computes too (a shadow). It is part of the alias's history, so whoever follows the alias tries it out, and it ends with the next change.

use serde::{Deserialize, Serialize};

use crate::aliases::Step;
use crate::error::RegistryError;
use crate::history::{Author, Change, Kind};
use crate::registry::Registry;
use crate::select::Select;

/// A version that is tried out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Trial {
    /// The version.
    pub version: u32,
    /// Its identity, as [`Change::digest`].
    pub digest: String,
    /// By how many of a hundred requests that mean the alias: from 1 to 99 for a canary, to 100 for a shadow. Requests with one key are
    /// treated alike.
    pub percent: u8,
    /// Within what a canary has to keep; without them only people end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Within what a canary has to keep, beside the version that the alias names. A worker on which it does not ends it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Limits {
    /// The share of its requests that may go wrong beyond the other version's, from 0 to 1.
    pub errors: f64,
    /// How many times as long as the other version it may take to compute an image, by the medians, at least 1.
    pub latency: f64,
    /// The share of the requests which the two versions may label differently, from 0 to 1. Only where it is there, does the other version
    /// compute the canary's requests too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<f64>,
    /// After how many seconds it takes the alias, if it kept within them; none where people decide that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
}

impl Trial {
    /// Whether share and limits can be.
    pub(crate) fn is_possible(&self) -> bool {
        (1..=100).contains(&self.percent) && self.limits.is_none_or(|limits| limits.are_possible())
    }
}

impl Limits {
    fn are_possible(&self) -> bool {
        let share = |share: f64| (0.0..=1.0).contains(&share);
        share(self.errors)
            && self.disagreement.is_none_or(share)
            && self.latency >= 1.0
            && self.latency.is_finite()
            && self.for_s != Some(0)
    }
}

/// How a version is to be tried out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TryOut {
    /// It answers that many of a hundred requests, within those limits.
    Canary(u8, Option<Limits>),
    /// It computes that many of a hundred requests too.
    Shadow(u8),
}

impl Registry {
    /// Tries a version out beside the one that `alias` names, until the alias's next change: a promotion, a rollback, or another trial.
    /// The version is opened and checked as for [`promote`](Self::promote).
    ///
    /// # Errors
    /// As `promote`; and if the alias names no version, or this one, or the share or a limit can't be.
    pub fn try_out(
        &self,
        name: &str,
        alias: &str,
        version: u32,
        how: TryOut,
        author: &Author,
    ) -> Result<Change, RegistryError> {
        let history = self.history_of(name, alias)?;
        let unfit = |message: &str| RegistryError::NoTrial {
            name: name.into(),
            version,
            alias: alias.into(),
            message: message.into(),
        };
        let (kind, percent, limits) = match how {
            TryOut::Canary(1..=99, Some(limits)) if !limits.are_possible() => {
                return Err(unfit(
                    "the shares it may fail or differ by are from 0 to 1, its latency at least 1 times the other's, and its time is not 0",
                ));
            }
            TryOut::Canary(percent @ 1..=99, limits) => (Kind::Canary, percent, limits),
            TryOut::Canary(..) => return Err(unfit("its share is from 1 to 99 of a hundred")),
            TryOut::Shadow(percent @ 1..=100) => (Kind::Shadow, percent, None),
            TryOut::Shadow(_) => return Err(unfit("its share is from 1 to 100 of a hundred")),
        };
        let digest = self.verified(name, version)?;
        let seen = history.seen()?;
        let now = seen.version.ok_or_else(|| unfit("the alias names no version yet: promote one first"))?;
        if now == version {
            return Err(unfit("it is what the alias names already"));
        }
        let served = self.load(name, &Select::Version(now))?.digest;
        let step = Step::to(kind, now, served).trying_out(Trial { version, digest, percent, limits });
        self.change(&history, step, author, &seen)
    }

    /// Ends the canary that change `number` of the alias began: it takes the alias, or all is as it was before it. Of several who end it at once
    /// one is heard.
    ///
    /// # Errors
    /// As [`promote`](Self::promote), and [`RegistryError::ChangedMeanwhile`] where that is no longer the last change.
    pub fn end_canary(
        &self,
        name: &str,
        alias: &str,
        number: u32,
        promoted: bool,
        author: &Author,
    ) -> Result<Change, RegistryError> {
        let history = self.history_of(name, alias)?;
        let seen = history.seen()?;
        let (Some(now), Some(canary), true) = (seen.version, &seen.canary, seen.number == number) else {
            let (name, alias) = (name.into(), alias.into());
            return Err(RegistryError::ChangedMeanwhile { name, alias, found: seen.version });
        };
        let (kind, to) = if promoted { (Kind::Promote, canary.version) } else { (Kind::Rollback, now) };
        let digest = self.verified(name, to)?;
        self.change(&history, Step::to(kind, to, digest), author, &seen)
    }
}
