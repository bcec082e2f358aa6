//! Which requests meet a version that is tried out: always the same ones, on each worker.

use crate::fnv::fnv1a;

/// A number from 0 to 99, always the same for one key: both halves of its hash together.
#[must_use]
pub fn ticket(key: &[u8]) -> u8 {
    let hash = fnv1a(key.iter().copied());
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
