//! What client and worker share of Kafka.
//!
//! - [`settings`]: the `kafka` section of a configuration file, and what librdkafka is given for it.
//! - [`mod@locate`]: which broker to use, and where the embedded one is found.
//! - [`embedded`]: a broker inside the process, for a first try and for tests.
//! - [`commit`]: a commit that nobody waits for.
//! - [`cluster`]: whether a broker answers, and what it is.
//! - [`topics`]: the names of the topics, and making them on a real Kafka.
//! - [`identity`]: which topic it is that has a name.
//! - [`headers`]: record headers in and out of librdkafka.
//! - [`producer`]: sending, each record with a parcel that comes back with the broker's word.
//! - [`log`]: librdkafka's own talk, as `tracing` events instead of lines on stderr.

pub mod cluster;
pub mod commit;
mod defaults;
pub mod embedded;
pub mod headers;
pub mod identity;
pub mod locate;
pub mod log;
pub mod producer;
pub mod settings;
pub mod topics;

pub use cluster::{Cluster, ProbeError, Unreachable, probe};
pub use commit::{begin_commit, positions};
pub use defaults::Role;
pub use embedded::{EmbeddedBroker, EmbeddedError};
pub use headers::{from_headers, to_headers};
pub use locate::{Broker, LocateError, RuntimeDir, locate};
pub use log::{HearingContext, LogContext};
pub use producer::{Fault, FaultKind, NotTaken, Outgoing, Producer};
pub use settings::{Secret, SecurityProtocol, Settings, SettingsError};
pub use topics::{TopicError, TopicNameError, TopicSpec, Topics, ensure};

/// The largest record that a producer of ours sends to a real Kafka, in bytes: an image of 8 MiB as base64, and its headers.
pub const MAX_RECORD_BYTES: usize = 12_000_000;

/// What a dead letter is larger than its request at most, in bytes: the headers that say why it is one.
pub const DEAD_LETTER_BYTES: usize = 64 << 10;

/// The `max.message.bytes` of topics that carry images, in bytes: [`MAX_RECORD_BYTES`] and a record batch's own frame.
pub const TOPIC_MAX_MESSAGE_BYTES: usize = 12 << 20;
