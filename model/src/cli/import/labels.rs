//! Labels: the lines of a file, or the names that others have for a net's outputs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;

use super::Refusal;

/// No more of a file is read, and a longer one is refused.
const LARGEST: u64 = 4 << 20;

/// The labels that a file holds; in the inner error what is wrong with them.
pub(super) fn read(path: &Path) -> anyhow::Result<Result<Labels, String>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read the labels {}", path.display()))?;
    if bytes.len() as u64 > LARGEST {
        let text = format!("{} is longer than the {LARGEST} bytes that are read", path.display());
        return Err(Refusal::Unfit(text).into());
    }
    Ok(labels(&bytes))
}

/// Labels, and what is to be said of those that are there twice.
pub(super) type Labels = (Vec<String>, Option<String>);

/// A file's labels.
fn labels(bytes: &[u8]) -> Result<Labels, String> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    checked(
        (1..).zip(text.trim_end().lines()).map(|(line, label)| (format!("line {line}"), label.to_owned())),
    )
}

/// Labels, each with its place in words, if they are some.
pub(super) fn checked(all: impl Iterator<Item = (String, String)>) -> Result<Labels, String> {
    let mut labels: Vec<String> = Vec::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut twice = Vec::new();
    for (place, label) in all {
        let label = label.trim();
        if label.is_empty() {
            return Err(format!("{place} is empty"));
        }
        if label.chars().any(char::is_control) {
            return Err(format!("{place} holds a control character"));
        }
        if let Some(first) = places.get(label) {
            twice.push(format!("{label:?} stands on {first} and {place}"));
        }
        places.insert(label.to_owned(), place);
        labels.push(label.to_owned());
    }
    if labels.is_empty() {
        return Err("it holds none".to_owned());
    }
    let more = twice.len().saturating_sub(3);
    twice.truncate(3);
    if more > 0 {
        twice.push(format!("{more} more stand there twice"));
    }
    Ok((labels, Some(twice.join(", ")).filter(|twice| !twice.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lines_and_what_is_wrong_is_said_by_its_line() {
        let read = |text: &str| labels(text.as_bytes());
        let expected = (vec!["a hen".to_owned(), "an owl".to_owned()], None);
        for text in ["a hen\nan owl", "a hen\r\nan owl\r\n", "\u{feff}a hen \n an owl\n\n\n"] {
            assert_eq!(read(text).unwrap(), expected, "{text:?}");
        }
        let (all, twice) = read("crane\nowl\ncrane").unwrap();
        assert_eq!((all.len(), twice.unwrap().as_str()), (3, "\"crane\" stands on line 1 and line 3"));
        for (text, words) in [
            ("", "none"),
            ("\n \n", "none"),
            ("a\n\nb", "line 2 is empty"),
            ("a\nb\u{1b}[2J", "line 2 holds"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert_eq!(labels(b"a\nb\n\xff").unwrap_err(), "line 3 is not UTF-8");
    }
}
