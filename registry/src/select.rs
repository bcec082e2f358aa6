//! Which version of a model is meant: a number, an alias or the latest.

use std::fmt;
use std::str::FromStr;

use crate::RegistryError;
use crate::name::is_plain_name;

/// A way to name a version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Select {
    /// That very version.
    Version(u32),
    /// The version whose number the alias file holds, such as `production`.
    Alias(String),
    /// The highest number there is.
    Latest,
}

impl Default for Select {
    /// The alias `production`.
    fn default() -> Self {
        Self::Alias("production".into())
    }
}

impl FromStr for Select {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            // "007" and "0" name no folder.
            return text
                .parse()
                .ok()
                .filter(|&version: &u32| version > 0 && version.to_string() == text)
                .map(Self::Version)
                .ok_or_else(|| RegistryError::BadSelect { text: text.into() });
        }
        if is_plain_name(text) {
            return Ok(Self::Alias(text.into()));
        }
        Err(RegistryError::BadSelect { text: text.into() })
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
            Self::Latest => "latest".fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_aliases_and_latest() {
        for (text, expected) in [
            ("3", Select::Version(3)),
            ("production", Select::Alias("production".into())),
            ("latest", Select::Latest),
        ] {
            let read: Select = text.parse().unwrap();
            assert_eq!(read, expected);
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_names_no_version() {
        for text in ["", "0", "007", "99999999999", "../1", "a/b", ".", "..", "Prod uction"] {
            assert!(text.parse::<Select>().is_err(), "{text:?} was taken");
        }
    }
}
