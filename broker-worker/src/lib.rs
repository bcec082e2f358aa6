//! The worker: takes requests from Kafka, answers them, and commits only what is answered.
//!
//! ```text
//! [consume] -Record(64)-> [decode] -Job(64)-> [queue] -> [batch] -Batch(1)-> [infer] -Answer(256)-> [respond] -Ticket-> [commit]
//! ```
//!
//! - [`rooms`]: the seven rooms, one file each; [`parcels`]: what they hand to each other; [`pipeline`]: wires them; [`supervise`]: hears of their end;
//!   [`capacity`]: the figures on the arrows. Decode, queue and batch too hand answers to respond: those of requests
//!   that are not computed. A ticket needs no channel: it writes itself into commit's book.
//! - [`served`], [`models`] and [`engines`]: what the rooms ask of a model, all that there are, and the engines behind them.
//! - [`lane`]: a model version and the jobs that wait for it; [`load`]: the rule behind back-pressure; [`outbox`]: the producer; [`clients`]: what librdkafka is given;
//!   [`broker`]: which broker, and waiting for it.
//! - [`app`]: all of it, built and run; [`args`] and [`config`]: what there is to set; [`http`], [`health`], [`metrics`],
//!   [`telemetry`] and [`announce`]: what it says about itself.

pub mod announce;
pub mod app;
pub mod args;
pub mod broker;
pub mod capacity;
pub mod clients;
pub mod config;
#[cfg(test)]
mod doubles;
pub mod engines;
pub mod health;
pub mod http;
pub mod lane;
pub mod load;
pub mod metrics;
mod micros;
pub mod models;
pub mod outbox;
pub mod parcels;
pub mod pipeline;
#[cfg(test)]
mod pipeline_tests;
pub mod rooms;
pub mod served;
pub mod supervise;
pub mod telemetry;

pub use app::{App, BuildError, Ready, RunError, build, build_with, run};
pub use config::Config;
pub use engines::configure_process;
