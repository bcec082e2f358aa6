//! No source file over 400 lines, its own tests counted; files of tests alone up to 600.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{process, progress::step, workspace::Workspace};

const SOURCE: usize = 400;
const TESTS: usize = 600;
/// What is written by hand.
const KINDS: [&str; 5] = ["*.rs", "*.js", "*.mjs", "*.css", "*.html"];

/// Checks what git knows of, what is new and not ignored included; the error names each file that is too long.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    step("length of files", || {
        let mut git = std::process::Command::new("git");
        git.current_dir(workspace.root());
        let list = process::output(
            git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).args(KINDS),
        )?;
        let mut long = Vec::new();
        for file in list.lines() {
            let path = workspace.root().join(file);
            // One that is removed and not yet committed so.
            if !path.exists() {
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {file}"))?;
            long.extend(too_long(file, text.lines().count()));
        }
        if !long.is_empty() {
            bail!("too long to be read at once; part them:\n  {}", long.join("\n  "));
        }
        Ok(())
    })
}

fn too_long(file: &str, lines: usize) -> Option<String> {
    let path = Path::new(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = name == "tests.rs" || name.ends_with("_tests.rs");
    // `tests/` is a crate whose library is source; its tests and those of other crates are in a folder of that name.
    let folder = path.components().skip(1).any(|part| part.as_os_str() == "tests");
    let limit = if beside || folder { TESTS } else { SOURCE };
    (lines > limit).then(|| format!("{file}: {lines} lines, and {limit} may be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_may_be_longer_than_sources() {
        for source in ["wire/src/codec.rs", "tests/src/scene.rs", "xtask/src/main.rs"] {
            assert_eq!(too_long(source, 400), None);
            let said = too_long(source, 401).unwrap();
            assert_eq!(said, format!("{source}: 401 lines, and 400 may be"));
        }
        for tests in
            ["wire/tests/golden.rs", "tests/tests/group.rs", "wire/src/codec/tests.rs", "w/src/p_tests.rs"]
        {
            assert_eq!(too_long(tests, 600), None);
            assert!(too_long(tests, 601).is_some());
        }
    }
}
