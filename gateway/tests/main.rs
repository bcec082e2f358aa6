//! A gateway with an embedded broker and a worker's double behind it, asked over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that can't go on says so")]

mod access;
mod batch;
mod grpc;
mod guard;
mod later;
mod limits;
mod live;
mod page;
mod predict;
mod program;
mod support;
mod tls;
mod tokens;
mod v2;
mod versions;
