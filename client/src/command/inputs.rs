//! Which files are sent: what was typed or listed, turned into a list of paths before anything is sent. The files
//! themselves are read one by one later. What can't be looked into is said in its place, and the rest goes on.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use glob::Pattern;
use walkdir::WalkDir;

use super::exit::Failure;

/// What a folder is looked through for.
const IMAGE_EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// One image to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    File(PathBuf),
    Stdin,
}

impl Input {
    /// What it is called in the output.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => shown(path.as_os_str()),
            Self::Stdin => "-".to_owned(),
        }
    }
}

/// What is sent, or what can't be and why.
pub(crate) type Found = Result<Input, Unreadable>;

/// A file or folder that can't be looked into.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) name: String,
    pub(crate) error: io::Error,
}

/// A list of names in a file.
#[derive(Debug)]
pub(crate) struct List {
    /// Which; `-` is standard input.
    pub(crate) path: PathBuf,
    /// Names end with a zero byte, not with a line.
    pub(crate) null: bool,
}

/// A name as text: bytes that are no UTF-8 as `\xE9`.
pub(crate) fn shown(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

/// A file that is named is sent whatever it is. Of a folder the images are, by their extension, hidden ones left out, and
/// so of the folders below it. A glob stands for what it matches, as if the shell had put that there. What was typed must
/// be there; what is listed need not.
pub(crate) fn resolve(typed: &[OsString], list: Option<&List>) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    let listed_on_stdin = list.is_some_and(|list| list.path == Path::new("-"));
    for name in typed {
        let before = found.len();
        if name == "-" {
            if listed_on_stdin || found.iter().any(|f| matches!(f, Ok(Input::Stdin))) {
                return Err(Failure::Usage("- is given twice: there is one standard input".to_owned()));
            }
            found.push(Ok(Input::Stdin));
            continue;
        }
        let path = Path::new(name);
        if path.exists() {
            add(path, &mut found);
        } else if let Some(pattern) = name.to_str().filter(|name| name.contains(['*', '?', '['])) {
            expand(pattern, &mut found)?;
        } else {
            return Err(Failure::Usage(format!("{}: there is no such file or folder", shown(name))));
        }
        if found.len() == before {
            return Err(nothing_in(&shown(name)));
        }
    }
    if let Some(list) = list {
        let before = found.len();
        for name in names(list)? {
            add(Path::new(&name), &mut found);
        }
        if found.len() == before {
            return Err(nothing_in(&shown(list.path.as_os_str())));
        }
    }
    Ok(found)
}

fn nothing_in(name: &str) -> Failure {
    let extensions = IMAGE_EXTENSIONS.join(", ");
    Failure::Usage(format!("{name}: no image is found there ({extensions})"))
}

/// Each part of the pattern by itself, `**` for any number of folders. What is hidden is matched where the pattern says the dot,
/// and what is no text by the characters of it that are.
fn expand(pattern: &str, found: &mut Vec<Found>) -> Result<(), Failure> {
    let parts = pattern.split('/').filter(|part| !part.is_empty()).map(Pattern::new);
    let parts: Vec<Pattern> =
        parts.collect::<Result<_, _>>().map_err(|e| Failure::Usage(format!("{pattern}: {e}")))?;
    let top = if pattern.starts_with('/') { "/" } else { "" };
    matching(Path::new(top), &parts, found);
    Ok(())
}

fn matching(folder: &Path, parts: &[Pattern], found: &mut Vec<Found>) {
    let Some((part, rest)) = parts.split_first() else { return add(folder, found) };
    let text = part.as_str();
    if !text.contains(['*', '?', '[']) {
        let path = folder.join(text);
        if path.symlink_metadata().is_ok() {
            matching(&path, rest, found);
        }
        return;
    }
    let here = if folder == Path::new("") { Path::new(".") } else { folder };
    let deep = text == "**";
    if deep {
        matching(if rest.is_empty() { here } else { folder }, rest, found);
        if rest.is_empty() {
            return;
        }
    } else if !here.is_dir() {
        return;
    }
    for entry in WalkDir::new(here).min_depth(1).max_depth(1).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.push(Err(unreadable(error, here)));
                continue;
            }
        };
        let name = entry.file_name();
        if is_hidden(name) && !text.starts_with('.') {
            continue;
        }
        let path = folder.join(name);
        if !deep && part.matches(&name.to_string_lossy()) {
            matching(&path, rest, found);
        } else if deep && entry.file_type().is_dir() {
            matching(&path, parts, found);
        }
    }
}

/// What walking a folder says of something in it.
fn unreadable(error: walkdir::Error, folder: &Path) -> Unreadable {
    let name = shown(error.path().unwrap_or(folder).as_os_str());
    let error = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links"));
    Unreadable { name, error }
}

/// The names that a list holds.
fn names(list: &List) -> Result<Vec<OsString>, Failure> {
    let mut text = Vec::new();
    let read = if list.path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text)
    } else {
        fs::File::open(&list.path).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.map_err(|e| Failure::Usage(format!("{}: {e}", shown(list.path.as_os_str()))))?;
    let end = if list.null { 0 } else { b'\n' };
    let names = text.split(|&byte| byte == end).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
}

fn add(path: &Path, found: &mut Vec<Found>) {
    match fs::metadata(path) {
        Ok(what) if what.is_dir() => walk(path, found),
        Ok(_) => found.push(Ok(Input::File(path.to_owned()))),
        Err(error) => found.push(Err(Unreadable { name: shown(path.as_os_str()), error })),
    }
}

/// In the order of names, so that two runs send the same. Linked folders below are not followed: they may lead back here.
fn walk(folder: &Path, found: &mut Vec<Found>) {
    let entries = WalkDir::new(folder).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() || !is_image(entry.path()) => {}
            Ok(entry) => match fs::metadata(entry.path()) {
                Ok(what) if what.is_file() => found.push(Ok(Input::File(entry.into_path()))),
                // A pipe or a device that bears an image's name, or a folder behind a link.
                Ok(_) => {}
                Err(error) => {
                    found.push(Err(Unreadable { name: shown(entry.path().as_os_str()), error }));
                }
            },
            Err(error) => found.push(Err(unreadable(error, folder))),
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
