//! Ask the workers for predictions over Kafka.
//!
//! [`Client`] holds one connection: one reply partition that it alone reads from a known position, one table of open
//! requests, and a deadline for each. It is cheap to clone, and many callers use it at once.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::ClientError> {
//! let client = client::Client::connect(client::ClientConfig::default()).await?;
//! let image = std::fs::read("sandal.png").unwrap_or_default();
//! let answer = client.predict(image, client::Ask::of_model("fashion-mnist")).await?;
//! println!("{:?}", answer.outcome);
//! # Ok(())
//! # }
//! ```
//!
//! - [`request`]: [`Client`] itself; [`ticket`]: one open request.
//! - [`batch`]: many images at once, answers as they come.
//! - [`listen`]: every result on the topic, whoever asked.
//! - [`models`]: what workers say that they serve.
//!
//! No group is joined and no offset is committed anywhere here.

#![forbid(unsafe_code)]

pub mod batch;
pub mod config;
pub mod error;
pub mod listen;
pub mod models;
mod pending;
mod reading;
mod replies;
pub mod request;
mod sending;
pub mod ticket;
mod window;

pub use batch::Answers;
pub use config::{Ask, ClientConfig};
pub use error::ClientError;
pub use listen::{Listener, Start};
pub use models::served_models;
pub use request::Client;
pub use ticket::Ticket;
