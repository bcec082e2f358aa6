//! The seven rooms. None of them knows another: each takes parcels from its input and puts parcels on its output, and
//! [`crate::pipeline`] wires them.

pub mod batch;
pub mod commit;
pub mod consume;
pub mod decode;
pub mod infer;
pub mod queue;
pub mod respond;
