//! Holds the rooms apart: what two of them share lies beside them, and only the wiring names more than one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// All source files under a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The room that a file belongs to, by the first part of its path behind `rooms/`.
fn room_of(path: &Path, rooms: &Path) -> Option<String> {
    let inside = path.strip_prefix(rooms).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The rooms that a line of code names behind `parent`, whichever way: `crate::rooms::batch`, or `rooms::{batch, infer}`.
fn named(line: &str, parent: &str, rooms: &BTreeSet<String>) -> BTreeSet<String> {
    let code = line.split("//").next().unwrap_or_default();
    let lists = code.split(parent).skip(1).map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap_or_default(),
        None => rest.split([':', ';', ',', ' ']).next().unwrap_or_default(),
    });
    let words = lists.flat_map(|list| list.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.filter(|word| rooms.contains(*word)).map(str::to_owned).collect()
}

#[test]
fn no_room_names_another_and_only_the_wiring_names_two() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = src.join("rooms");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let rooms: BTreeSet<_> = files.iter().filter_map(|path| room_of(path, &folder)).collect();
    let rooms: BTreeSet<_> = rooms.into_iter().filter(|room| room != "mod" && room != "tests").collect();
    assert!(rooms.len() >= 6, "{rooms:?}");
    let mut wiring = BTreeSet::new();
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let behind = |parent| text.lines().flat_map(|line| named(line, parent, &rooms)).collect();
        let all: BTreeSet<_> = behind("rooms::");
        match room_of(path, &folder).filter(|room| rooms.contains(room)) {
            Some(room) => {
                // A room's parent is `rooms`, too.
                let beside: BTreeSet<_> = behind("super::");
                let others: Vec<_> = all.union(&beside).filter(|other| **other != room).collect();
                assert!(others.is_empty(), "{} names the room {others:?}", path.display());
            }
            None if path.ends_with("pipeline.rs") => wiring = all,
            // Each room's configuration lies with the room, and is put together there.
            None if path.starts_with(src.join("config")) => {}
            None => assert!(all.len() <= 1, "{} names the rooms {all:?}", path.display()),
        }
    }
    assert!(wiring.len() >= 5, "the wiring names {wiring:?} only: is this test still looking at it?");
}
