//! How many parcels each channel of the pipeline holds. They stand on the drawing in the crate's documentation and in
//! README.md, and a test holds both to these.
//!
//! They are small on purpose: what waits, waits in the queue room, where it has a priority and a deadline, and what
//! does not fit there waits in Kafka.

/// From consume to decode.
pub const RECORDS: usize = 64;
/// From decode to queue.
pub const ADMISSIONS: usize = 64;
/// From batch to infer: one is computed while the next one lies ready, and no more, so that a batch is formed as late
/// and as large as possible.
pub const BATCHES: usize = 1;
/// From decode, queue and infer to respond.
pub const ANSWERS: usize = 256;
/// From infer to shadow, of each version: what does not fit is shed.
pub const COMPARED: usize = 64;
/// From infer to the thread that writes images for people to look at: what does not fit is shed.
pub const UNSURE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawings_say_what_the_constants_say() {
        let drawing = format!(
            "[consume] -Record({RECORDS})-> [decode] -Admission({ADMISSIONS})-> [queue] -> [batch] -Batch({BATCHES})-> [infer] \
             -Answer({ANSWERS})-> [respond] -Ticket-> [commit]"
        );
        for (file, text) in
            [("src/lib.rs", include_str!("lib.rs")), ("README.md", include_str!("../README.md"))]
        {
            assert!(text.contains(&drawing), "{file} does not hold the line\n{drawing}");
        }
    }
}
