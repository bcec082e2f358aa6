//! Ask the workers for predictions over Kafka.
//!
//! [`Client`] holds one connection: one reply partition that it alone reads from a known position, one table of open
//! requests, and a deadline for each. It is cheap to clone, and many callers use it at once.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::ClientError> {
//! use client::{Client, ClientConfig, Options, Outcome};
//!
//! let client = Client::connect(ClientConfig::new("localhost:9092")).await?;
//! let image = std::fs::read("sandal.png").unwrap_or_default();
//! let answer = client.predict(image, Options::model("fashion-mnist").top_k(3)).await?;
//! if let Outcome::Success(success) = answer.outcome {
//!     println!("{:?}", success.predictions);
//! }
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`request`]: [`Client`] itself; [`ticket`]: one open request.
//! - [`config`]: how to connect; [`options`]: what is asked about an image.
//! - [`batch`]: many images at once, answers as they come.
//! - [`listen`]: every result on the topic, whoever asked.
//! - [`models`]: what workers say that they serve, once; [`watch`]: the same, kept up to date.
//! - [`live`]: what workers do, live.
//! - [`mod@control`]: what workers are asked to do beside answering.
//! - [`compacted`]: a compacted topic as a table, such as that of gateways' keys.
//! - [`review`]: images that people look at, what they say of them, and a folder of both to learn from.
//! - [`claim`] and [`results`]: an answer that somebody else asks for later.
//!
//! No group is joined and no offset is committed anywhere here.

#![forbid(unsafe_code)]

pub mod batch;
pub mod claim;
mod cluster;
pub mod compacted;
pub mod config;
pub mod control;
#[cfg(feature = "double")]
pub mod double;
pub mod error;
pub mod listen;
pub mod live;
pub mod models;
pub mod options;
mod pace;
mod pending;
mod reading;
mod replies;
pub mod request;
pub mod results;
pub mod review;
mod sending;
mod thread;
pub mod ticket;
pub mod watch;
mod window;
mod writing;

pub use batch::{Answers, each};
pub use claim::Claim;
pub use compacted::{Compacted, Rows, put};
pub use config::{ClientConfig, ReplyPartition};
pub use control::control;
pub use error::ClientError;
pub use kafka::log::TARGET as KAFKA_LOG;
pub use kafka::{Broker, Secret, SecurityProtocol, Settings, Topics};
pub use listen::{Incoming, Listener, Start};
pub use live::monitor::Monitor;
pub use models::served_models;
pub use options::Options;
pub use request::Client;
pub use results::{Looked, Results};
pub use ticket::Ticket;
pub use watch::{Watch, World};
pub use wire::{
    Action, Announcement, Control, Encoding, ErrorCode, ErrorReply, KeyRecord, Label, ModelId, Outcome,
    Prediction, Response, Review, Scope, SkippedModel, Success, Timings, TraceContext, Verdict, Why,
};
