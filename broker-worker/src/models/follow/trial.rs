//! A version that is tried out beside the one that is meant: brought in, held to its limits, and ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Follower, Meant};
use crate::health::Problem;
use crate::models::{Models, Part, Share, Skipped, Trial, Wanted};
use crate::trials::Verdict;

/// So long nothing is written into a history that could not be.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// A trial that did not keep within its limits on this worker.
#[derive(Debug)]
pub(super) struct Ended {
    /// Which change of the alias began it.
    change: u32,
    verdict: Verdict,
    why: String,
    /// The history says so too.
    written: bool,
    /// Why it could not be written there, the last time.
    fault: Option<String>,
}

impl Follower {
    /// Has what is meant to be tried out beside `wanted`, and nothing else.
    pub(super) fn follow_trial(&mut self, wanted: &Wanted, meant: &Meant) {
        let goes_on = self.watch_trial(wanted, meant);
        let Some(trial) = meant.trial.as_ref().filter(|_| goes_on) else { return };
        let beside = wanted.beside(trial.part);
        let serves = |models: &Models| models.serving(&beside).is_some_and(|s| s.id.version == trial.version);
        let served = self.models().as_ref().is_some_and(serves);
        let compared = trial.limits.is_some_and(|limits| limits.disagreement.is_some());
        self.come_to(&beside, trial.version, Share { percent: trial.percent, compared });
        self.end_all(wanted, |part, _| part != trial.part);
        if !served {
            // What is answered from now on counts.
            self.watch_trial(wanted, meant);
        }
    }

    /// Ends all that is tried out and is over. It loads nothing.
    pub(super) fn watch_trials(&mut self) {
        let Ok(wanted) = self.versions.wanted() else { return self.watch_what_was_seen() };
        for wanted in wanted.iter().filter(|wanted| wanted.moves()) {
            match self.versions.resolve(wanted) {
                Ok(Some(meant)) => drop(self.watch_trial(wanted, &meant)),
                Ok(None) => {}
                Err(_) => self.watch_as_it_was_seen(wanted),
            }
        }
    }

    /// The same where it can't be found out what is meant: a version that fails answers nobody any longer for that.
    pub(super) fn watch_what_was_seen(&mut self) {
        for (wanted, meant) in self.seen.values().cloned().collect::<Vec<_>>() {
            self.watch_trial(&wanted, &meant);
        }
    }

    /// The same of one.
    pub(super) fn watch_as_it_was_seen(&mut self, wanted: &Wanted) {
        if let Some((wanted, meant)) = self.seen.get(&wanted.key()).cloned() {
            self.watch_trial(&wanted, &meant);
        }
    }

    /// Ends what is tried out beside `wanted` and is not meant to be, or does not keep within its limits; whether it is to be tried out.
    fn watch_trial(&mut self, wanted: &Wanted, meant: &Meant) -> bool {
        let key = wanted.key();
        let Some(trial) = &meant.trial else {
            self.seen.remove(&key);
            self.end_all(wanted, |_, _| true);
            self.ended.remove(&key);
            self.unwritten.remove(&key);
            self.metrics.trials.forget(&key);
            return false;
        };
        self.seen.insert(key.clone(), (wanted.clone(), meant.clone()));
        // So that there is room, and whether the next one can be served or not; but what is tried out in another way from now on need not be
        // loaded again.
        self.end_all(wanted, |part, version| {
            version.map_or(part != trial.part, |version| version != trial.version)
        });
        if self.ended.get(&key).is_some_and(|ended| ended.change == trial.change) {
            self.stay_ended(wanted, trial);
            return false;
        }
        if trial.part == Part::Canary {
            // What really answers: the one that is meant may not be served here.
            let models = self.models();
            let version = |wanted: &Wanted| Some(models.as_ref()?.serving(wanted)?.id.version);
            if let (Some(first), Some(tried)) = (version(wanted), version(&wanted.beside(trial.part)))
                && tried == trial.version
            {
                if first == tried {
                    // It answers all of them here, since the one that is meant can't be served: there is nothing to hold it to.
                    self.metrics.trials.forget(&key);
                    return true;
                }
                self.metrics.trials.watch(&key, &wanted.name, trial.change, [first, tried]);
                return self.judge(wanted, trial, first == meant.version);
            }
        } else {
            self.metrics.trials.forget(&key);
        }
        true
    }

    /// Holds a canary to its limits; whether it goes on. It is promoted only `beside_what_is_meant`: that it is no worse than a version that
    /// answers here for want of the one in service says nothing of that one.
    fn judge(&mut self, wanted: &Wanted, trial: &Trial, beside_what_is_meant: bool) -> bool {
        let (key, beside) = (wanted.key(), wanted.beside(trial.part));
        let Some(limits) = trial.limits else { return true };
        // Where the clock was set back, it has just begun.
        let so_far = Duration::try_from(Timestamp::now().duration_since(trial.since)).unwrap_or_default();
        let verdict = self.metrics.trials.verdict(&key, &limits, so_far);
        let (name, version) = (&wanted.name, trial.version);
        match &verdict {
            Verdict::GoesOn => true,
            Verdict::Over(why) => {
                // The next request is the other version's, whoever may write that down.
                self.end(&beside);
                self.metrics.trials.forget(&key);
                let (change, why) = (trial.change, why.clone());
                self.ended.insert(key, Ended { change, verdict, why, written: false, fault: None });
                self.stay_ended(wanted, trial);
                false
            }
            Verdict::Kept(_) if !beside_what_is_meant => true,
            Verdict::Kept(why) => {
                match self.write(wanted, trial, &verdict) {
                    Some(Ok(())) => tracing::info!("{name} {version} is promoted: {why}"),
                    Some(Err(error)) => {
                        let sentence = format!(
                            "{name} {version} kept within its limits, and this worker can't promote it: {error}"
                        );
                        let key = format!("{}-kept", beside.key());
                        if self.health.note(Problem::new(key, sentence.clone())) {
                            tracing::warn!("{sentence}");
                        }
                    }
                    None => {}
                }
                true
            }
        }
    }

    /// Says that it is over, also in the history, until that says so.
    fn stay_ended(&mut self, wanted: &Wanted, trial: &Trial) {
        let key = wanted.key();
        let Some(mut ended) = self.ended.remove(&key) else { return };
        if !ended.written
            && let Some(written) = self.write(wanted, trial, &ended.verdict)
        {
            ended.written = written.is_ok();
            ended.fault = written.err();
        }
        let (name, version, why) = (&wanted.name, trial.version, &ended.why);
        let fault = ended.fault.as_ref().map_or_else(String::new, |fault| {
            format!("; this worker can't write that into the history: {fault}")
        });
        let reason = format!("{name} {version} is tried out no more: {why}{fault}");
        self.tell(Skipped { wanted: wanted.beside(trial.part), version: Some(version), reason });
        self.ended.insert(key, ended);
    }

    /// Writes what became of it into the history; nothing where that could not be done a moment ago.
    fn write(&mut self, wanted: &Wanted, trial: &Trial, verdict: &Verdict) -> Option<Result<(), String>> {
        let key = wanted.key();
        if self.unwritten.get(&key).is_some_and(|failed| failed.elapsed() < self.again) {
            return None;
        }
        let written = self.versions.end_canary(wanted, trial, verdict).map_err(|error| cli::sentence(&error));
        match &written {
            Ok(()) => drop(self.unwritten.remove(&key)),
            Err(_) => drop(self.unwritten.insert(key, Instant::now())),
        }
        Some(written)
    }

    /// Those parts of what is tried out are no more, which serve that version.
    fn end_all(&mut self, wanted: &Wanted, which: impl Fn(Part, Option<u32>) -> bool) {
        for part in Part::TRIED {
            let beside = wanted.beside(part);
            let version = self.models().and_then(|models| Some(models.serving(&beside)?.id.version));
            if which(part, version) {
                self.end(&beside);
            }
        }
    }

    /// It is tried out no more.
    fn end(&mut self, beside: &Wanted) {
        let Some(models) = self.models() else { return };
        if let Some(served) = models.serving(beside) {
            tracing::info!("{served:?} is tried out no more");
            self.replaced.push(Arc::downgrade(served));
            self.change(|models| models.without(beside));
        }
        self.health.withdraw(&format!("{}-kept", beside.key()));
        self.is_as_meant(beside);
    }
}
