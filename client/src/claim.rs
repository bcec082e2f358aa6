//! What finds the answer to a request later: its id, the partition that the answer comes on, and an offset there before
//! which it can't lie. An offset rather than a time, so that no two clocks have to agree.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// What finds the answer to a request. As text it is `<request id>.<partition>.<offset>`, of letters, digits, `-` and `.` alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The request's id, a UUID of version 7.
    pub request_id: String,
    /// The partition of the results topic.
    pub partition: i32,
    /// The first offset there at which the answer may lie.
    pub offset: i64,
}

/// A text that is no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not <request id>.<partition>.<offset>")]
pub struct NoClaim;

impl Claim {
    /// When the request was made, in milliseconds of Unix time, by the clock of whoever made it.
    #[must_use]
    pub fn made_at(&self) -> Option<i64> {
        let (seconds, nanoseconds) = Uuid::parse_str(&self.request_id).ok()?.get_timestamp()?.to_unix();
        i64::try_from(seconds).ok()?.checked_mul(1000)?.checked_add(i64::from(nanoseconds / 1_000_000))
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.request_id, self.partition, self.offset)
    }
}

impl FromStr for Claim {
    type Err = NoClaim;

    /// Strictly: there is one text for each claim.
    fn from_str(text: &str) -> Result<Self, NoClaim> {
        let mut parts = text.split('.');
        let (Some(id), Some(partition), Some(offset), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoClaim);
        };
        let id = Uuid::parse_str(id).map_err(|_| NoClaim)?;
        let claim = Self {
            request_id: id.to_string(),
            partition: partition.parse().map_err(|_| NoClaim)?,
            offset: offset.parse().map_err(|_| NoClaim)?,
        };
        let possible = id.get_version_num() == 7 && claim.partition >= 0 && claim.offset >= 0;
        (possible && claim.to_string() == text).then_some(claim).ok_or(NoClaim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_tells_its_time() {
        let claim =
            Claim { request_id: "019b7c9e-2d5a-7c31-8a57-5f0c1c6b2a10".into(), partition: 3, offset: 4711 };
        let text = claim.to_string();
        assert_eq!(text, "019b7c9e-2d5a-7c31-8a57-5f0c1c6b2a10.3.4711");
        assert_eq!(text.parse(), Ok(claim.clone()));
        assert_eq!(claim.made_at(), Some(0x019b_7c9e_2d5a));
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        let id = "019b7c9e-2d5a-7c31-8a57-5f0c1c6b2a10";
        for text in [
            String::new(),
            id.to_owned(),
            format!("{id}.0"),
            format!("{id}.0.0.0"),
            format!("{id}.-1.0"),
            format!("{id}.0.-1"),
            format!("{id}.+1.0"),
            format!("{id}.01.0"),
            format!("{id}.0.99999999999999999999"),
            format!("{}.0.0", id.to_uppercase()),
            "f47ac10b-58cc-4372-a567-0e02b2c3d479.0.0".to_owned(),
            format!("{id}.0.0\n"),
        ] {
            assert_eq!(text.parse::<Claim>(), Err(NoClaim), "{text:?}");
        }
    }
}
