//! The rooms. None of them knows another: each takes parcels from its input and puts parcels on its output, and
//! [`crate::pipeline`] wires them. The last one, commit, has no file here: tickets write into [`crate::book`], and consume,
//! the only room that knows the consumer, commits what it says.

pub mod batch;
pub mod consume;
pub mod decode;
pub mod infer;
pub mod queue;
pub mod respond;
pub mod shadow;
#[cfg(test)]
mod tests;
