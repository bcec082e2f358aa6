//! What a person is told of an error.

use std::error::Error;

/// An error and its causes in one line: of each its first, since a library's may go on with pages of a stack trace, and what was said
/// once not again.
#[must_use]
pub fn sentence(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&error| error.source()).fold(String::new(), |said, cause| {
        let text = cause.to_string();
        let line = text.lines().next().unwrap_or_default();
        match said.as_str() {
            "" => line.to_owned(),
            _ if said.contains(line) => said,
            _ => format!("{said}: {line}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot load {name}")]
    struct Outer {
        name: &'static str,
        source: Inner,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no memory: {source}")]
    struct Inner {
        source: io::Error,
    }

    #[test]
    fn each_cause_is_said_once_and_its_stack_trace_not_at_all() {
        let source = io::Error::other("asked for 4 GB\nframe #0: a place in a library");
        let error = Outer { name: "bird", source: Inner { source: io::Error::other("asked for 4 GB") } };
        assert_eq!(sentence(&error), "cannot load bird: no memory: asked for 4 GB");
        assert_eq!(sentence(&source), "asked for 4 GB");
    }
}
