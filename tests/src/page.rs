//! The examples of `docs/protocol.md` and `docs/http.md`, and the commands of `README.md`, so that the pages are what is tested. An example is the
//! fenced block behind a comment `<!-- example: NAME -->`.

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

/// The example of that name in `docs/protocol.md`, without its fence.
///
/// # Panics
/// Where the page has none.
#[must_use]
pub fn example(name: &str) -> String {
    example_of("docs/protocol.md", name)
}

/// The same of another page.
///
/// # Panics
/// Where the page can't be read or has none.
#[must_use]
pub fn example_of(page: &str, name: &str) -> String {
    let path = paths::root().join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mark = format!("<!-- example: {name} -->");
    let (_, behind) = text.split_once(&mark).unwrap_or_else(|| panic!("{page} has no {mark}"));
    let mut lines = behind.lines().skip_while(|line| line.trim().is_empty());
    let fence = lines.next().unwrap_or_default();
    assert!(fence.starts_with("```"), "{mark} stands before '{fence}', not before a fenced block");
    lines.take_while(|line| !line.starts_with("```")).map(|line| format!("{line}\n")).collect()
}

/// A command of `README.md`: a program of ours, or `make`, and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// `worker`, `client`, `model` or `make`.
    pub program: String,
    /// What stands behind it.
    pub arguments: Vec<String>,
}

/// The commands of the README's "Three terminals", and those of its table "What next".
///
/// # Panics
/// Where it can't be read.
#[must_use]
pub fn readme() -> (Vec<Typed>, Vec<Typed>) {
    let path = paths::root().join("README.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let section = |heading: &str| {
        let lines = text.lines().skip_while(|line| *line != format!("## {heading}")).skip(1);
        lines.take_while(|line| !line.starts_with("## ")).collect::<Vec<_>>()
    };
    let terminals = section("Three terminals").into_iter().filter_map(|line| typed(line.split('#').next()?));
    let next = section("What next");
    let next =
        next.iter().filter(|line| line.starts_with('|')).flat_map(|line| line.split('`').skip(1).step_by(2));
    (terminals.collect(), next.filter_map(typed).collect())
}

/// Words that begin with a program of ours, be its folder named or not.
fn typed(line: &str) -> Option<Typed> {
    let mut words = line.split_whitespace();
    let program = words.next()?;
    let program = program.strip_prefix("target/release/").unwrap_or(program);
    let ours = matches!(program, "worker" | "client" | "model" | "make");
    ours.then(|| Typed { program: program.to_owned(), arguments: words.map(str::to_owned).collect() })
}
