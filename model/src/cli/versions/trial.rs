//! A version that is tried out by a share of the requests before it may take the place of the one in service.

use std::time::Duration;

use clap::Args;
use registry::{Change, Kind, Limits, TryOut};

use super::super::publish::Refusal;

/// How it is tried out, if it is.
#[derive(Debug, Args)]
pub(super) struct Trial {
    /// Try it out: from now on it answers that many of a hundred requests in place of the version in service, until one of the two is
    /// promoted, or `model rollback` or a worker ends it. Requests with one key are answered by one version.
    #[arg(long, env = "MLAAS_CANARY", value_name = "PERCENT", value_parser = percent, conflicts_with = "data")]
    canary: Option<u8>,
    /// Try it out unseen: from now on workers have it compute that many of a hundred requests too when they have nothing else to do, and publish
    /// what it says on the shadow topic; it answers none.
    #[arg(long, env = "MLAAS_SHADOW", value_name = "PERCENT", value_parser = percent, conflicts_with_all = ["data", "canary"])]
    shadow: Option<u8>,
    /// With --canary: promote it after that long, as 1h, if it keeps within the limits below.
    #[arg(long = "for", env = "MLAAS_FOR", value_name = "TIME", value_parser = humantime::parse_duration, requires = "canary")]
    time: Option<Duration>,
    /// With --canary: roll it back where that many points of a hundred more of its requests fail than of the other version's [default: 1]
    #[arg(long, env = "MLAAS_MAX_ERRORS", value_name = "POINTS", value_parser = points, requires = "canary")]
    max_errors: Option<f64>,
    /// With --canary: roll it back where an image takes it that many times as long to compute as the other version, by the medians [default: 2]
    #[arg(long, env = "MLAAS_MAX_LATENCY", value_name = "TIMES", value_parser = times, requires = "canary")]
    max_latency: Option<f64>,
    /// With --canary: roll it back where the two versions label that many of a hundred images differently. Workers then have the version in service
    /// compute the canary's requests too, when they have nothing else to do.
    #[arg(long, env = "MLAAS_MAX_DISAGREEMENT", value_name = "PERCENT", value_parser = points, requires = "canary")]
    max_disagreement: Option<f64>,
}

/// Without limits of its own, a canary may fail that many more of its requests, as a share.
const ERRORS: f64 = 0.01;
/// And may take that many times as long.
const LATENCY: f64 = 2.0;

fn percent(text: &str) -> Result<u8, String> {
    let number = without_sign(text).parse();
    number
        .ok()
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| "it is a number from 1 to 100".into())
}

fn points(text: &str) -> Result<f64, String> {
    let number = without_sign(text).parse();
    let share = number.ok().filter(|points| (0.0..=100.0).contains(points));
    share.ok_or_else(|| "it is a number from 0 to 100".into())
}

fn times(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|times| *times >= 1.0 && times.is_finite())
        .ok_or_else(|| "it is a number, 1 or greater".into())
}

fn without_sign(text: &str) -> &str {
    text.strip_suffix('%').unwrap_or(text).trim_end()
}

impl Trial {
    /// None where the version is not to be tried out.
    pub(super) fn how(&self) -> anyhow::Result<Option<TryOut>> {
        if let Some(percent) = self.shadow {
            return Ok(Some(TryOut::Shadow(percent)));
        }
        let Some(percent) = self.canary else { return Ok(None) };
        let for_s = self.time.map(|time| time.as_secs());
        if for_s == Some(0) {
            return Err(Refusal::Usage("--for is a second or more".to_owned()).into());
        }
        let limits = Limits {
            errors: self.max_errors.map_or(ERRORS, |points| points / 100.0),
            latency: self.max_latency.unwrap_or(LATENCY),
            disagreement: self.max_disagreement.map(|points| points / 100.0),
            for_s,
        };
        Ok(Some(TryOut::Canary(percent, Some(limits))))
    }
}

/// What is tried out from that change on, for people.
pub(super) fn told(change: &Change) -> String {
    let Some(trial) = change.trial() else { return String::new() };
    let (version, percent) = (trial.version, trial.percent);
    if change.kind == Kind::Shadow {
        return format!("version {version} a shadow of {percent} %");
    }
    let time = trial.limits.and_then(|limits| limits.for_s).map_or_else(String::new, |seconds| {
        format!(" for {}", humantime::format_duration(Duration::from_secs(seconds)))
    });
    format!("version {version} a canary of {percent} %{time}")
}
