//! The examples of `docs/protocol.md`, so that the page is what is tested. An example is the fenced block behind a comment
//! `<!-- example: NAME -->`.

use crate::paths;

/// The page.
///
/// # Panics
/// Where it can't be read.
#[must_use]
pub fn text() -> String {
    let path = paths::root().join("docs/protocol.md");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The example of that name, without its fence.
///
/// # Panics
/// Where the page has none.
#[must_use]
pub fn example(name: &str) -> String {
    let page = text();
    let mark = format!("<!-- example: {name} -->");
    let (_, behind) = page.split_once(&mark).unwrap_or_else(|| panic!("docs/protocol.md has no {mark}"));
    let mut lines = behind.lines().skip_while(|line| line.trim().is_empty());
    let fence = lines.next().unwrap_or_default();
    assert!(fence.starts_with("```"), "{mark} stands before '{fence}', not before a fenced block");
    lines.take_while(|line| !line.starts_with("```")).map(|line| format!("{line}\n")).collect()
}
