//! Whether to write in colour: what the user says, else `NO_COLOR` (<https://no-color.org>), else whether a terminal reads.

use std::ffi::OsStr;

use clap::ValueEnum;

/// What the user says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Into a pipe too
    Always,
    /// Nowhere
    Never,
}

impl Color {
    /// Whether to write in colour to a stream that is a terminal or not.
    #[must_use]
    pub fn applies(self, terminal: bool) -> bool {
        self.decide(terminal, std::env::var_os("NO_COLOR").as_deref(), std::env::var_os("TERM").as_deref())
    }

    fn decide(self, terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_the_environment_and_that_before_the_terminal() {
        let decide = |color: Color, terminal, no_color: Option<&str>, term: &str| {
            color.decide(terminal, no_color.map(OsStr::new), Some(OsStr::new(term)))
        };
        assert!(decide(Color::Auto, true, None, "xterm"));
        assert!(decide(Color::Auto, true, Some(""), "xterm"), "an empty variable counts as unset");
        assert!(!decide(Color::Auto, true, Some("1"), "xterm"));
        assert!(!decide(Color::Auto, true, None, "dumb"));
        assert!(!decide(Color::Auto, false, None, "xterm"));
        assert!(decide(Color::Always, false, Some("1"), "dumb"));
        assert!(!decide(Color::Never, true, None, "xterm"));
    }
}
