//! Names of models, aliases and files.

/// Whether `name` can be a folder or file here: nothing that leaves its folder, hides, or differs on another system.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    name.len() <= 100
        && name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}
