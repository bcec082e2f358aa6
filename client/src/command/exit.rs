//! Exit codes, and what leads to each.

use std::io;
use std::process::ExitCode;

use client::ClientError;
use rdkafka::error::KafkaError;

/// How the program ends; `--help` tells the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Success = cli::exit::SUCCESS,
    Failure = cli::exit::FAILURE,
    Usage = cli::exit::USAGE,
    Unreachable = cli::exit::BROKER,
    Timeout = 4,
    ErrorReplies = 5,
    Interrupted = cli::exit::INTERRUPTED,
    /// As a shell says of who is ended by SIGTERM.
    Terminated = 143,
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
    /// Workers have not done in time what they were asked to.
    #[error("{0}")]
    Unheard(String),
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
        use ClientError as E;
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unheard(_) => Exit::Timeout,
            Self::Client(error) => match error {
                E::NoBroker { .. } | E::Settings(_) | E::NoTime { .. } | E::Locate(_) => Exit::Usage,
                // Settings that librdkafka takes one by one and not together.
                E::Kafka(KafkaError::ClientCreation(_)) => Exit::Usage,
                E::Unreachable(_) | E::Silent { .. } | E::NoLeader { .. } => Exit::Unreachable,
                error if error.is_timeout() => Exit::Timeout,
                _ => Exit::Failure,
            },
            Self::BrokenPipe => Exit::Success,
            Self::Interrupted => Exit::Interrupted,
            Self::Io(_) => Exit::Failure,
        }
    }

    /// What can be done about it on the command line.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Client(ClientError::NoBroker { .. }) => {
                ": start `worker`, or give --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; where a worker runs, see \
                 that MLAAS_RUNTIME_DIR or XDG_RUNTIME_DIR is the same for both"
            }
            _ => "",
        }
    }
}
