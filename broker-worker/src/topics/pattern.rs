//! A regular expression that has to match a whole name.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// As written, and ready to match.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    whole: Regex,
}

impl Pattern {
    /// Whether it matches all of that name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.whole.is_match(name)
    }
}

impl FromStr for Pattern {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Alone first: a parenthesis too many would close ours.
        Regex::new(text)?;
        Ok(Self { text: text.to_owned(), whole: Regex::new(&format!("^(?:{text})$"))? })
    }
}

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_has_to_match() {
        let pattern: Pattern = "a|b.*".parse().unwrap();
        assert!(pattern.matches("a") && pattern.matches("b-2"));
        assert!(!pattern.matches("aa") && !pattern.matches("cb"));
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_its_place() {
        for text in ["(", ")(", "[a"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        let error = serde_yaml::from_str::<Pattern>("'replies.('").unwrap_err().to_string();
        assert!(error.contains("unclosed group"), "{error}");
    }
}
