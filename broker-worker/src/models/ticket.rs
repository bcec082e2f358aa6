//! Which requests meet a version that is tried out: always the same ones, on each worker.

/// A number from 0 to 99, always the same for one key: FNV-1a of 64 bits
/// ([draft](https://datatracker.ietf.org/doc/draft-eastlake-fnv/)), both halves together.
#[must_use]
pub fn ticket(key: &[u8]) -> u8 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = key.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    u8::try_from((hash ^ (hash >> 32)) % 100).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_ticket_on_each_worker_and_keys_have_all_of_them_alike() {
        assert_eq!(["", "a", "user-1", "user-2"].map(|key| ticket(key.as_bytes())), [45, 24, 26, 71]);
        let mut counts = [0; 100];
        for key in 0..100_000 {
            counts[usize::from(ticket(format!("user-{key}").as_bytes()))] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
