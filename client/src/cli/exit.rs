//! Exit codes, and what leads to each.

use std::io;
use std::process::ExitCode;

use client::ClientError;

/// How the program ends; `--help` tells the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 2,
    Unreachable = 3,
    Timeout = 4,
    ErrorReplies = 5,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program ends before its work is done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Io(io::Error),
    /// Whoever read the output has gone: there is nobody to tell.
    #[error("the output was closed")]
    BrokenPipe,
    #[error("interrupted")]
    Interrupted,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Io(error),
        }
    }
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Client(ClientError::NoBroker | ClientError::Settings(_)) => Exit::Usage,
            Self::Client(ClientError::Unreachable(_)) => Exit::Unreachable,
            Self::Client(ClientError::Timeout { .. }) => Exit::Timeout,
            Self::BrokenPipe => Exit::Success,
            Self::Interrupted => Exit::Interrupted,
            Self::Client(_) | Self::Io(_) => Exit::Failure,
        }
    }
}

/// What went wrong with single images while the rest went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// No answer in time.
    pub(crate) timeouts: u64,
    /// Answered with an error.
    pub(crate) errors: u64,
    /// Not sent: unreadable, too large, refused.
    pub(crate) unsent: u64,
}

impl Tally {
    /// The code for all of them together: what is least certain goes first.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self { timeouts: 1.., .. } => Exit::Timeout,
            Self { errors: 1.., .. } => Exit::ErrorReplies,
            Self { unsent: 1.., .. } => Exit::Failure,
            _ => Exit::Success,
        }
    }

    /// Counts a request that has no answer.
    pub(crate) fn count(&mut self, error: &ClientError) {
        match error {
            ClientError::Timeout { .. } => self.timeouts += 1,
            _ => self.unsent += 1,
        }
    }
}
