//! The id of a result that is asked for later. It says all that any gateway needs to find it, so that none remembers anything:
//! where the answer comes, and until when it may.

use std::str::FromStr as _;
use std::time::Duration;

use client::Claim;
use jiff::Timestamp;

use crate::problem::Problem;

/// By how much clocks of gateways may differ.
const SKEW_MS: i64 = 60_000;
/// How long after its deadline a request may still be answered, with the error that it is over.
const OVERTIME_MS: i64 = 60_000;

/// A result that is asked for later.
#[derive(Clone, Debug, PartialEq)]
pub struct Later {
    /// Where the answer is.
    pub claim: Claim,
    /// After that, in milliseconds of Unix time, none comes any more.
    until: i64,
}

/// The id of a result: the claim, and for how many seconds a worker may take the request up.
#[must_use]
pub fn id(claim: &Claim, time: Duration) -> String {
    format!("{claim}.{}", time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)))
}

impl Later {
    /// Reads an id. Strictly: there is one id for each result.
    ///
    /// # Errors
    /// [`Problem`] where no gateway wrote it.
    pub fn read(id: &str, longest: Duration) -> Result<Self, Problem> {
        let unknown = || Problem::not_found("there is no result of this id");
        let (claim, seconds) = id.rsplit_once('.').ok_or_else(unknown)?;
        let claim = Claim::from_str(claim).map_err(|_| unknown())?;
        let time = seconds.parse::<u32>().map_err(|_| unknown())?;
        let made_at = claim.made_at().ok_or_else(unknown)?;
        let later = Self { until: made_at.saturating_add(i64::from(time) * 1000 + OVERTIME_MS), claim };
        let possible = seconds == time.to_string()
            && u64::from(time) <= longest.as_secs() + 1
            && made_at <= Timestamp::now().as_millisecond() + SKEW_MS;
        possible.then_some(later).ok_or_else(unknown)
    }

    /// Whether an answer may still come.
    #[must_use]
    pub fn may_come(&self) -> bool {
        Timestamp::now().as_millisecond() <= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn claim(request_id: String) -> Claim {
        Claim { request_id, partition: 2, offset: 17 }
    }

    #[test]
    fn what_was_written_is_read() {
        let claim = claim(wire::new_request_id());
        let id = id(&claim, Duration::from_millis(29_001));
        assert!(id.ends_with(".2.17.30"), "{id}");
        let later = Later::read(&id, HOUR).unwrap();
        assert_eq!(later.claim, claim);
        assert!(later.may_come());
    }

    #[test]
    fn what_no_gateway_wrote_is_not_looked_for() {
        let now = wire::new_request_id();
        let future = "ffffffff-ffff-7c31-8a57-5f0c1c6b2a10";
        for id in [
            "",
            "x",
            &format!("{now}.2.17"),
            &format!("{now}.2.17.x"),
            &format!("{now}.2.17.030"),
            &format!("{now}.2.17.7200"),
            &format!("{now}.2.17.-3"),
            &format!("{future}.2.17.30"),
            "../../etc",
        ] {
            assert_eq!(Later::read(id, HOUR).unwrap_err().status(), 404, "{id}");
        }
    }

    #[test]
    fn one_of_long_ago_does_not_come_any_more() {
        let id = id(&claim("019b7c9e-2d5a-7c31-8a57-5f0c1c6b2a10".into()), HOUR);
        let made_at = Later::read(&id, HOUR).unwrap().claim.made_at().unwrap();
        assert!(made_at + 7_200_000 < Timestamp::now().as_millisecond());
        assert!(!Later::read(&id, HOUR).unwrap().may_come());
    }
}
