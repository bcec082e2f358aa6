//! A hash that is the same on each worker and after each restart, as the standard library's is not.

/// FNV-1a of 64 bits ([draft](https://datatracker.ietf.org/doc/draft-eastlake-fnv/)).
#[must_use]
pub fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
