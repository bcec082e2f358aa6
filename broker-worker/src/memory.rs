//! How much memory and processor time the process has, as the system counts it.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Bytes that the process holds in memory; 0 where the system does not say.
#[must_use]
pub fn resident() -> u64 {
    let pages = || fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<u64>().ok();
    let page = || u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok();
    pages().zip(page()).map_or(0, |(pages, page)| pages * page)
}

/// Processor time that all of the process's threads took; none where the system does not say.
#[must_use]
pub fn processor_time() -> Duration {
    let ticks = || {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name stands in brackets, and may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ').skip(11).map(str::parse::<u64>);
        Some(fields.next()?.ok()? + fields.next()?.ok()?)
    };
    let second = || u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok().filter(|ticks| *ticks > 0);
    ticks()
        .zip(second())
        .map_or(Duration::ZERO, |(ticks, second)| Duration::from_millis(ticks * 1000 / second))
}

/// Does that, and says by how many bytes the process grew meanwhile. What others do at the same time is counted with it.
///
/// # Errors
/// Those of `work`.
pub fn growth<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, u64), E> {
    let before = resident();
    let done = work()?;
    Ok((done, resident().saturating_sub(before)))
}

/// There is no room for a version beside the others.
#[derive(Debug, thiserror::Error)]
#[error(
    "it takes about {}, the others take {}, and models.memory_bytes allows {} together: raise it, or serve fewer",
    shown(*.takes),
    shown(*.held),
    shown(*.limit)
)]
pub struct NoRoom {
    takes: u64,
    held: u64,
    limit: u64,
}

/// Whether what takes so much has room beside what the others hold, where all may take that together; 0 is as much as there is.
///
/// # Errors
/// Where it has not.
pub fn has_room(takes: u64, held: u64, limit: u64) -> Result<(), NoRoom> {
    if limit == 0 || held.saturating_add(takes) <= limit {
        Ok(())
    } else {
        Err(NoRoom { takes, held, limit })
    }
}

/// Bytes, for people.
#[must_use]
pub fn shown(bytes: u64) -> String {
    match bytes.div_ceil(1 << 20) {
        _ if bytes < 1 << 20 => format!("{bytes} bytes"),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_goes_on_while_something_is_computed() {
        let before = processor_time();
        let mut sum = 1_u64;
        while processor_time() - before < Duration::from_millis(50) {
            sum = std::hint::black_box((0..100_000).fold(sum, u64::wrapping_mul));
        }
        assert!(processor_time() < Duration::from_secs(24 * 3600), "milliseconds, not ticks");
    }

    #[test]
    fn what_is_held_is_counted_and_what_fails_is_not() {
        // Read and written, so that the system has to give it.
        let (held, grown) = growth(|| Ok::<_, ()>(vec![1u8; 64 << 20])).unwrap();
        assert!(grown >= 60 << 20, "{} bytes for {}", grown, held.len());
        assert_eq!(growth(|| Err::<(), _>("no memory")), Err("no memory"));
        assert_eq!(
            (shown(7), shown(3 << 20), shown((3 << 20) + 1)),
            ("7 bytes".into(), "3 MiB".into(), "4 MiB".into())
        );
    }
}
