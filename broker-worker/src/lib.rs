//! The worker: takes requests from Kafka, answers them, and commits only what is answered.
//!
//! ```text
//! [consume] -Record(64)-> [decode] -Admission(64)-> [queue] -> [batch] -Batch(1)-> [infer] -Answer(256)-> [respond] -Ticket-> [commit]
//! ```
//!
//! From outside it is [`Config`], [`build`] and [`run`]; the rest is its own:
//!
//! - `rooms`: one file each; `parcels`: what they hand to each other; `pipeline`: wires them; `supervise`: hears of
//!   their end; `capacity`: the figures on the arrows. Decode, queue and batch too hand answers to respond: those of
//!   requests that are not computed. A ticket needs no channel: it writes itself into commit's `book`.
//! - `lane`: a model version, the jobs that wait for it and its engines; `book`: which offsets may be
//!   committed; `pressure`: the rule behind back-pressure; `group` and `topics`: what several rooms are told of both.
//! - `served`, `models` and `engines`: what the rooms ask of a model, all that there are and how they follow what is promoted, and
//!   the engines behind them.
//! - `shadow`: what a version computes beside the one that answers; `trials`: how versions do that are tried out.
//! - `review`: images that a person should look at; `fnv`: which requests are drawn for one thing or another.
//! - `control`: what workers are asked to do beside answering.
//! - `outbox`: the producers; `clients`: what librdkafka is given; `broker`: which broker, and waiting for it.
//! - `snapshots`: what this worker measures of itself, published each second; `tally`: where that is counted.
//! - `app`: all of it, built and run; [`args`] and [`config`]: what there is to set; `http`, `health`, `metrics`
//!   and `announce`: what it says about itself.

// What is public in a private module is so for the modules beside it.
#![allow(unreachable_pub)]

mod announce;
mod app;
pub mod args;
mod book;
mod broker;
mod capacity;
mod caught;
mod clients;
pub mod config;
mod control;
#[cfg(test)]
mod doubles;
mod engines;
mod fnv;
mod group;
mod health;
mod http;
mod invalid;
mod lane;
mod memory;
mod metrics;
mod micros;
mod models;
mod outbox;
mod parcels;
mod pipeline;
#[cfg(test)]
mod pipeline_tests;
mod pressure;
mod review;
mod rooms;
mod served;
mod shadow;
mod snapshots;
mod supervise;
mod tally;
mod topics;
mod trials;

pub use app::{App, BuildError, Ready, RunError, build, run};
pub use config::Config;
pub use engines::{configure_process, leave};
