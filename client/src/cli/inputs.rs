//! Which files are sent: what was typed, turned into a list of paths before anything is sent. The files themselves are
//! read one by one later.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".to_owned(),
        }
    }
}

/// A file that is named is sent whatever it is. Of a folder the images are, by their extension, hidden ones left out, and
/// so of the folders below it. A glob stands for what it matches, as if the shell had put that there.
pub(crate) fn resolve(typed: &[String]) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for text in typed {
        let before = inputs.len();
        if text == "-" {
            if inputs.contains(&Input::Stdin) {
                return Err(Failure::Usage("- is given twice: there is one standard input".to_owned()));
            }
            inputs.push(Input::Stdin);
            continue;
        }
        let path = Path::new(text);
        if path.exists() {
            add(path, &mut inputs)?;
        } else if text.contains(['*', '?', '[']) {
            let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
            let matches =
                glob::glob_with(text, options).map_err(|e| Failure::Usage(format!("{text}: {e}")))?;
            for matched in matches {
                let matched = matched.map_err(|e| Failure::Usage(format!("{text}: {e}")))?;
                add(&matched, &mut inputs)?;
            }
        } else {
            return Err(Failure::Usage(format!("{text}: there is no such file or folder")));
        }
        if inputs.len() == before {
            let extensions = IMAGE_EXTENSIONS.join(", ");
            return Err(Failure::Usage(format!("{text}: no image is found there ({extensions})")));
        }
    }
    Ok(inputs)
}

fn add(path: &Path, inputs: &mut Vec<Input>) -> Result<(), Failure> {
    if path.is_dir() {
        walk(path, inputs).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
    } else {
        inputs.push(Input::File(path.to_owned()));
        Ok(())
    }
}

/// In the order of names, so that two runs send the same.
fn walk(folder: &Path, inputs: &mut Vec<Input>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Linked folders are not followed: they may lead back here.
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), inputs)?;
        } else if is_image(&entry.path()) && entry.path().is_file() {
            inputs.push(Input::File(entry.path()));
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        dir
    }

    fn names(dir: &tempfile::TempDir, typed: &[&str]) -> Result<Vec<String>, String> {
        let typed: Vec<String> = typed.iter().map(|t| dir.path().join(t).display().to_string()).collect();
        let inputs = resolve(&typed).map_err(|e| e.to_string())?;
        let root = format!("{}/", dir.path().display());
        Ok(inputs.iter().map(|i| i.name().replace(&root, "")).collect())
    }

    #[test]
    fn of_a_folder_the_images_and_of_those_below_it_hidden_ones_left_out() {
        let dir = folder(&["b.png", "a.JPG", "notes.txt", ".hidden.png", ".git/c.png", "sub/deep/d.webp"]);
        assert_eq!(names(&dir, &[""]).unwrap(), ["a.JPG", "b.png", "sub/deep/d.webp"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/loop")).unwrap();
        assert_eq!(names(&dir, &[""]).unwrap().len(), 3, "a link that leads back is not followed");
    }

    #[test]
    fn a_named_file_whatever_it_is() {
        let dir = folder(&["notes.txt", ".hidden.png"]);
        assert_eq!(names(&dir, &["notes.txt", ".hidden.png"]).unwrap(), ["notes.txt", ".hidden.png"]);
    }

    #[test]
    fn a_glob_is_what_it_matches() {
        let dir = folder(&["a.png", "b.txt", "sub/c.png", "sub/d.txt", "we[i]rd.png"]);
        assert_eq!(names(&dir, &["*.txt"]).unwrap(), ["b.txt"]);
        assert_eq!(names(&dir, &["s*"]).unwrap(), ["sub/c.png"]);
        assert_eq!(
            names(&dir, &["we[i]rd.png"]).unwrap(),
            ["we[i]rd.png"],
            "a file of that very name goes first"
        );
    }

    #[test]
    fn nothing_found_is_an_error_that_names_it() {
        let dir = folder(&["sub/notes.txt", "a.png"]);
        for typed in ["sub", "*.gif", "none.png"] {
            let error = names(&dir, &["a.png", typed]).unwrap_err();
            assert!(error.contains(typed), "{error}");
        }
        assert!(resolve(&["-".to_owned(), "-".to_owned()]).is_err());
        assert_eq!(resolve(&["-".to_owned()]).unwrap(), [Input::Stdin]);
    }
}
