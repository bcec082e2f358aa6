//! The end-to-end tests: `worker` and `client` as processes of their own, on the embedded broker and on a real Apache
//! Kafka. One executable, so that all of them share one broker. See docs/testing.md.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what failed by panicking.

/// The same test on both brokers.
macro_rules! on_both_brokers {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        mod embedded {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(e2e::scene::Kind::Embedded); })+
        }
        mod kafka {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(e2e::scene::Kind::Kafka); })+
        }
    };
}

mod anew;
mod azure;
mod bad_input;
mod broker_loss;
mod brokers;
mod client;
mod deadlines;
mod engines;
mod first_try;
mod gateway;
mod group;
mod hangs;
mod harness;
mod http;
mod live;
mod memory;
mod offsets;
mod on_demand;
mod page;
mod promotions;
mod refusals;
mod replies;
mod review;
mod round_trip;
mod security;
mod signals;
mod stores;
mod trials;
mod upgrade;
mod worker_process;

/// A worker that has only the small net: it is ready sooner.
const FASHION_ONLY: &[&str] = &["--set", "models.serve=[{name: fashion-mnist}]"];

/// Only the larger one.
const BIRD_ONLY: &[&str] = &["--set", "models.serve=[{name: bird}]", "--set", "models.default=bird"];
