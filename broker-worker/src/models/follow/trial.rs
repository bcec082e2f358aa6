//! A version that is tried out beside the one that is meant: brought in, held to its limits, and ended.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Follower;
use crate::health::Problem;
use crate::models::{Part, Share, Skipped, Trial, Wanted};
use crate::trials::Verdict;

impl Follower {
    /// Has what is meant to be tried out beside `wanted`, and nothing else.
    pub(super) fn follow_trial(&mut self, wanted: &Wanted, meant: u32, trial: Option<&Trial>) {
        let key = wanted.key();
        let Some(trial) = trial else {
            self.end_all(wanted, |_, _| true);
            self.ended.remove(&key);
            return self.metrics.trials.forget(&key);
        };
        let beside = wanted.beside(trial.part);
        // So that there is room, and whether the next one can be served or not; but what is tried out in another way from now on need not be
        // loaded again.
        self.end_all(wanted, |part, version| {
            version.map_or(part != trial.part, |version| version != trial.version)
        });
        match self.ended.get(&key) {
            // Whoever may write the history has not done so yet.
            Some((change, skipped)) if *change == trial.change => return self.tell(skipped.clone()),
            _ => {}
        }
        let compared = trial.limits.is_some_and(|limits| limits.disagreement.is_some());
        self.come_to(&beside, trial.version, Share { percent: trial.percent, compared });
        self.end_all(wanted, |part, _| part != trial.part);
        if trial.part == Part::Canary {
            self.metrics.trials.watch(&key, &wanted.name, trial.change, [meant, trial.version]);
            self.judge(wanted, trial);
        } else {
            self.metrics.trials.forget(&key);
        }
    }

    /// Holds a canary to its limits.
    fn judge(&mut self, wanted: &Wanted, trial: &Trial) {
        let (key, beside) = (wanted.key(), wanted.beside(trial.part));
        let Some(limits) = trial.limits else { return };
        // Where the clock was set back, it has just begun.
        let so_far = Duration::try_from(Timestamp::now().duration_since(trial.since)).unwrap_or_default();
        let verdict = self.metrics.trials.verdict(&key, &limits, so_far);
        let (name, version) = (&wanted.name, trial.version);
        match &verdict {
            Verdict::GoesOn => {}
            Verdict::Over(why) => {
                // The next request is the other version's, whoever may write that down.
                self.end(&beside);
                self.metrics.trials.forget(&key);
                let written = self.versions.end_canary(wanted, trial, &verdict);
                let more = written.err().map_or_else(String::new, |error| {
                    format!("; this worker can't write that into the history: {}", cli::sentence(&error))
                });
                let reason = format!("{name} {version} is tried out no more: {why}{more}");
                let skipped = Skipped { wanted: beside, version: Some(version), reason };
                self.ended.insert(key, (trial.change, skipped.clone()));
                self.tell(skipped);
            }
            Verdict::Kept(why) => match self.versions.end_canary(wanted, trial, &verdict) {
                Ok(()) => tracing::info!("{name} {version} is promoted: {why}"),
                Err(error) => {
                    let error = cli::sentence(&error);
                    let sentence = format!(
                        "{name} {version} kept within its limits, and this worker can't promote it: {error}"
                    );
                    if self.health.note(Problem::new(format!("{}-kept", beside.key()), sentence.clone())) {
                        tracing::warn!("{sentence}");
                    }
                }
            },
        }
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
