//! How versions do that are tried out, beside those that are meant: what becomes of their last requests on this worker, and whether that
//! is within the limits that whoever tries one out has set.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use registry::Limits;
use wire::{ErrorCode, ModelId};

/// So many of a version's last requests count.
const LAST: usize = 1000;
/// Of fewer requests nothing is said of how many fail, or are labelled differently.
const ENOUGH: usize = 20;
/// Of fewer nothing is said of how long they take, and no version is promoted.
const MANY: usize = 100;

/// What is known of versions that are tried out, and of those beside which they are, by what is wanted.
#[derive(Debug, Default)]
pub struct Trials(RwLock<BTreeMap<String, Pair>>);

/// The two versions of a model, while one is tried out.
#[derive(Debug)]
struct Pair {
    model: String,
    /// Since which change of the alias.
    change: u32,
    meant: (u32, Answered),
    tried: (u32, Answered),
    /// Whether both labelled an image alike.
    agreed: VecDeque<bool>,
}

/// What became of a version's last requests: how long each image took to compute, where it was answered with labels.
#[derive(Debug, Default)]
struct Answered(VecDeque<Option<Duration>>);

impl Answered {
    fn failed(&self) -> usize {
        self.0.iter().filter(|took| took.is_none()).count()
    }

    /// The median of the time that an image takes. Of higher percentiles one that is computed alone has more than one of a full batch, whatever the
    /// version: the system may take the processor away from either for as long.
    fn median(&self) -> Option<Duration> {
        let mut took: Vec<_> = self.0.iter().flatten().copied().collect();
        let at = took.len().checked_sub(1)? / 2;
        Some(*took.select_nth_unstable(at).1)
    }
}

/// Keeps the last ones.
fn push<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() == LAST {
        all.pop_front();
    }
    all.push_back(one);
}

/// What is to become of a version that is tried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is tried out on.
    GoesOn,
    /// It did not keep within its limits: why.
    Over(String),
    /// It kept within them for as long as was asked for: by what.
    Kept(String),
}

impl Trials {
    /// From now on what is answered by these two versions of the model counts; what counted for an earlier change does no more.
    pub fn watch(&self, wanted: &str, model: &str, change: u32, [meant, tried]: [u32; 2]) {
        let mut all = self.write();
        let of = |pair: &Pair| (pair.change, pair.meant.0, pair.tried.0);
        if all.get(wanted).map(of) != Some((change, meant, tried)) {
            let (meant, tried) = ((meant, Answered::default()), (tried, Answered::default()));
            let pair = Pair { model: model.to_owned(), change, meant, tried, agreed: VecDeque::new() };
            all.insert(wanted.to_owned(), pair);
        }
    }

    /// Nothing is tried out any more.
    pub fn forget(&self, wanted: &str) {
        if self.read().contains_key(wanted) {
            self.write().remove(wanted);
        }
    }

    /// A request that names no version was answered, whose image took that long to compute: not how long it waited, which says more of how
    /// many there were than of the version.
    pub fn answered(&self, model: &ModelId, outcome: Result<(), ErrorCode>, took: Duration) {
        let took = match outcome {
            Ok(()) => Some(took),
            Err(ErrorCode::Internal | ErrorCode::Unavailable) => None,
            // That its sender has from any version.
            Err(_) => return,
        };
        self.of(&model.name, |pair| {
            let answered = [&mut pair.meant, &mut pair.tried].into_iter();
            for (_, answered) in answered.filter(|(version, _)| *version == model.version) {
                push(&mut answered.0, took);
            }
        });
    }

    /// An image was computed by both versions.
    pub fn compared(&self, model: &str, versions: [u32; 2], agree: bool) {
        self.of(model, |pair| {
            let both = [pair.meant.0, pair.tried.0];
            if versions == both || versions == [both[1], both[0]] {
                push(&mut pair.agreed, agree);
            }
        });
    }

    fn of(&self, model: &str, count: impl Fn(&mut Pair)) {
        // Nothing is tried out most of the time.
        if self.read().values().any(|pair| pair.model == model) {
            self.write().values_mut().filter(|pair| pair.model == model).for_each(count);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Pair>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Pair>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to become of the version that is tried out beside what is wanted, after it was for so long.
    pub fn verdict(&self, wanted: &str, limits: &Limits, so_far: Duration) -> Verdict {
        self.read().get(wanted).map_or(Verdict::GoesOn, |pair| pair.verdict(limits, so_far))
    }
}

impl Pair {
    fn verdict(&self, limits: &Limits, so_far: Duration) -> Verdict {
        let ((meant, other), (tried, its)) = (&self.meant, &self.tried);
        let (failed, requests) = (its.failed(), its.0.len());
        let others_failed = other.failed() as f64 / other.0.len().max(1) as f64;
        let (share, others_share) = (percent(failed, requests), percent(other.failed(), other.0.len()));
        if requests >= ENOUGH
            && other.0.len() >= ENOUGH
            && at_least(failed, requests) > others_failed + limits.errors
        {
            return Verdict::Over(format!(
                "{share} of its last {requests} requests failed, and {others_share} of version {meant}'s last {}",
                other.0.len()
            ));
        }
        let (median, others) = (its.median().unwrap_or_default(), other.median().unwrap_or_default());
        let many = requests - failed >= MANY && other.0.len() - other.failed() >= MANY;
        if many && median.as_secs_f64() > limits.latency * others.as_secs_f64() {
            return Verdict::Over(format!(
                "an image takes it {median:.1?}, and version {meant} {others:.1?}, of which it may take {} times as long",
                limits.latency
            ));
        }
        let (apart, both) = (self.agreed.iter().filter(|agreed| !**agreed).count(), self.agreed.len());
        if let Some(limit) = limits.disagreement
            && both >= ENOUGH
            && at_least(apart, both) > limit
        {
            return Verdict::Over(format!(
                "it labels {} of the last {both} images that both computed differently from version {meant}",
                percent(apart, both)
            ));
        }
        let over = limits.for_s.is_some_and(|seconds| so_far >= Duration::from_secs(seconds));
        let compared = limits.disagreement.is_none() || both >= MANY;
        // Not surely over a limit is not within it.
        let within = failed as f64 / requests.max(1) as f64 <= others_failed + limits.errors
            && limits.disagreement.is_none_or(|limit| apart as f64 <= limit * both as f64);
        if !over || !many || !compared || !within {
            return Verdict::GoesOn;
        }
        let apart = limits.disagreement.map_or_else(String::new, |_| {
            format!("; {} of {both} images labelled differently", percent(apart, both))
        });
        Verdict::Kept(format!(
            "version {tried} was tried out for {}: of its last {requests} requests {share} failed, beside {others_share}; an image took \
             {median:.1?}, beside {others:.1?}{apart}",
            humantime::format_duration(Duration::from_secs(so_far.as_secs()))
        ))
    }
}

fn percent(part: usize, all: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / all.max(1) as f64)
}

/// The share that is surely reached where `part` of `all` were seen: the lower end of its 95 % interval by Wilson (1927,
/// [doi:10.1080/01621459.1927.10502953](https://doi.org/10.1080/01621459.1927.10502953)).
fn at_least(part: usize, all: usize) -> f64 {
    const Z: f64 = 1.96;
    let (n, share) = (all.max(1) as f64, part as f64 / all.max(1) as f64);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((share + Z * Z / (2.0 * n) - spread) / (1.0 + Z * Z / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { errors: 0.01, latency: 2.0, disagreement: Some(0.1), for_s: Some(60) };
    const WANTED: &str = "model-bird";
    const BEFORE: Duration = Duration::from_secs(59);
    const AFTER: Duration = Duration::from_secs(60);

    fn model(version: u32) -> ModelId {
        ModelId { name: "bird".into(), version, digest: String::new() }
    }

    fn trials() -> Trials {
        let trials = Trials::default();
        trials.watch(WANTED, "bird", 7, [1, 2]);
        trials
    }

    impl Trials {
        fn answer(&self, version: u32, count: usize, ms: u64) {
            for _ in 0..count {
                self.answered(&model(version), Ok(()), Duration::from_millis(ms));
            }
        }

        fn fail(&self, version: u32, count: usize) {
            for _ in 0..count {
                self.answered(&model(version), Err(ErrorCode::Internal), Duration::ZERO);
            }
        }

        fn compare(&self, agree: bool, count: usize) {
            for _ in 0..count {
                self.compared("bird", [1, 2], agree);
            }
        }

        fn is_over(&self, why: &str) -> bool {
            matches!(self.verdict(WANTED, &LIMITS, BEFORE), Verdict::Over(reason) if reason.contains(why))
        }
    }

    #[test]
    fn one_that_fails_more_often_than_the_other_is_over_and_not_by_one_chance() {
        let trials = trials();
        trials.answer(1, 500, 10);
        trials.fail(2, ENOUGH - 1);
        assert_eq!(trials.verdict(WANTED, &LIMITS, AFTER), Verdict::GoesOn, "too few");
        trials.fail(2, 1);
        assert!(trials.is_over("100.0 % of its last 20 requests failed, and 0.0 % of version 1's last 500"));

        let trials = self::trials();
        trials.answer(1, 500, 10);
        trials.answer(2, 99, 10);
        trials.fail(2, 1);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn, "that may be chance");

        let trials = self::trials();
        trials.fail(1, 500);
        trials.fail(2, 500);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn, "the other one is no better");
    }

    #[test]
    fn what_its_sender_did_wrong_and_what_other_versions_did_does_not_count() {
        let trials = trials();
        use ErrorCode::{DeadlineExceeded, InvalidArgument, OutOfRange, ResourceExhausted};
        trials.answer(1, 500, 10);
        for code in [InvalidArgument, OutOfRange, DeadlineExceeded, ResourceExhausted] {
            (0..500).for_each(|_| trials.answered(&model(2), Err(code), Duration::ZERO));
        }
        trials.fail(3, 500);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn);
        trials.watch(WANTED, "bird", 7, [1, 2]);
        trials.fail(2, 500);
        assert!(trials.is_over("failed"));
        let unknown = self::trials();
        unknown.fail(2, 500);
        assert_eq!(unknown.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn, "the other may fail too");
        trials.watch(WANTED, "bird", 8, [1, 2]);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn, "it is tried out anew");
        trials.forget(WANTED);
        trials.fail(2, 500);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn);
    }

    #[test]
    fn one_that_takes_too_long_is_over_and_not_by_a_few_that_had_to_wait_for_the_processor() {
        let trials = trials();
        trials.answer(1, 500, 10);
        trials.answer(2, 100, 10);
        trials.answer(2, 90, 900);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn);
        trials.answer(2, 400, 21);
        assert!(
            trials.is_over("an image takes it 21.0ms, and version 1 10.0ms, of which it may take 2 times")
        );
    }

    #[test]
    fn one_that_labels_too_much_otherwise_is_over_where_that_is_limited() {
        let trials = trials();
        trials.compare(true, 80);
        trials.compare(false, 15);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn, "15.8 % may be 10 %");
        trials.compare(false, 15);
        assert!(trials.is_over("it labels 27.3 % of the last 110 images that both computed differently"));
        let any = Limits { disagreement: None, ..LIMITS };
        assert_eq!(trials.verdict(WANTED, &any, BEFORE), Verdict::GoesOn);
    }

    #[test]
    fn one_that_kept_within_its_limits_is_promoted_when_its_time_is_over_and_enough_was_seen() {
        let trials = trials();
        trials.answer(1, 500, 10);
        trials.answer(2, MANY, 12);
        trials.compare(true, MANY);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn);
        let for_good = Limits { for_s: None, ..LIMITS };
        assert_eq!(trials.verdict(WANTED, &for_good, AFTER), Verdict::GoesOn);
        let Verdict::Kept(why) = trials.verdict(WANTED, &LIMITS, AFTER) else { panic!("it is not") };
        assert!(
            why.contains("tried out for 1m: of its last 100 requests 0.0 % failed, beside 0.0 %; an image"),
            "{why}"
        );
        // Not surely more than a tenth, and more than a tenth.
        let doubtful = self::trials();
        doubtful.answer(1, 500, 10);
        doubtful.answer(2, MANY, 12);
        doubtful.compare(true, 95);
        doubtful.compare(false, 15);
        assert_eq!(doubtful.verdict(WANTED, &LIMITS, AFTER), Verdict::GoesOn, "13.6 % is not within 10 %");
        let few = self::trials();
        few.answer(1, 500, 10);
        few.answer(2, MANY - 1, 12);
        few.compare(true, MANY);
        assert_eq!(few.verdict(WANTED, &LIMITS, AFTER), Verdict::GoesOn, "one request too few");
        few.answer(2, 1, 12);
        assert!(matches!(few.verdict(WANTED, &LIMITS, AFTER), Verdict::Kept(_)));
    }

    #[test]
    fn only_the_last_requests_count() {
        let trials = trials();
        trials.answer(1, LAST, 10);
        trials.fail(2, LAST);
        assert!(trials.is_over("failed"));
        trials.answer(2, LAST, 10);
        assert_eq!(trials.verdict(WANTED, &LIMITS, BEFORE), Verdict::GoesOn);
    }
}
