//! The gateway: what the workers say, by HTTP and gRPC. It is one of many behind a load balancer, and keeps nothing: all that
//! lasts lies in Kafka.
//!
//! From outside it is [`Config`], [`build`] and [`run`]; whoever has more to serve by HTTP gives its routes to [`run_with`].
//!
//! - [`auth`]: who may come in, and what they may do; [`tls`]: what both servers speak; [`audit`]: who did what.
//! - `app`: all of it, built and run; `server` and `activity`: connections; [`routes`]: what there is to ask by HTTP; [`grpc`]: the same by gRPC.
//! - `gateway`: what all requests share; [`backend`]: the connection to the workers; [`admission`]: how much is taken at once.
//! - [`caller`]: what belongs to each request; [`asked`] and [`images`]: what is asked about which images; [`body`]: reading one.
//! - [`infer`]: the Open Inference Protocol, apart from how it travels.
//! - [`answer`] and [`problem`]: what comes back; [`later`]: the id of a result that is asked for later.
//! - [`args`] and [`config`]: what there is to set; [`key_commands`]: `gateway keys`; [`health`], [`metrics`] and [`history`]: what it says about itself;
//!   [`live`]: what workers say; [`review`]: images that people look at; [`versions`]: which versions of a model there are, and which one is in service.

#![forbid(unsafe_code)]
// What is public in a private module is so for the modules beside it.
#![allow(unreachable_pub)]

mod activity;
pub mod admission;
pub mod answer;
mod app;
pub mod args;
pub mod asked;
pub mod audit;
pub mod auth;
pub mod backend;
pub mod body;
pub mod caller;
pub mod config;
mod gateway;
pub mod grpc;
pub mod health;
pub mod history;
pub mod images;
pub mod infer;
pub mod key_commands;
pub mod later;
pub mod live;
pub mod metrics;
pub mod problem;
pub mod review;
pub mod routes;
mod server;
mod thumbnails;
pub mod tls;
pub mod versions;

pub use app::{App, BuildError, Ready, RunError, build, run, run_with};
pub use config::Config;
pub use gateway::Gateway;

/// The OpenAPI document of the HTTP interface, JSON, where the gateway asks who comes in.
#[must_use]
pub fn openapi() -> &'static str {
    routes::openapi::text(true)
}
