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

/// The names found below the folder; what can't be read with its reason.
fn below(dir: &tempfile::TempDir, found: Vec<Found>) -> Vec<String> {
    let root = format!("{}/", dir.path().display());
    let name = |found: Found| match found {
        Ok(input) => input.name(),
        Err(unreadable) => format!("{}: {}", unreadable.name, unreadable.error.kind()),
    };
    found.into_iter().map(|f| name(f).replace(&root, "")).collect()
}

fn names(dir: &tempfile::TempDir, typed: &[&str]) -> Result<Vec<String>, String> {
    let typed: Vec<OsString> = typed.iter().map(|t| dir.path().join(t).into_os_string()).collect();
    Ok(below(dir, resolve(&typed, None).map_err(|e| e.to_string())?))
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
    let found = names(&dir, &["we[i]rd.png"]).unwrap();
    assert_eq!(found, ["we[i]rd.png"], "a file of that very name goes first");
}

#[test]
fn a_glob_matches_part_by_part_and_what_is_hidden_where_it_says_so() {
    let dir = folder(&["a.png", ".b.png", ".c/d.png", "e/f.png", "e/g/h.png", "e/g/.i/j.png"]);
    assert_eq!(names(&dir, &["*.png"]).unwrap(), ["a.png"]);
    assert_eq!(names(&dir, &[".*"]).unwrap(), [".b.png", ".c/d.png"]);
    assert_eq!(names(&dir, &["**/[fh].png"]).unwrap(), ["e/f.png", "e/g/h.png"]);
    assert_eq!(names(&dir, &["?/**/*"]).unwrap(), ["e/f.png", "e/g/h.png", "e/g/h.png"]);
    assert_eq!(names(&dir, &["e/**"]).unwrap(), ["e/f.png", "e/g/h.png"]);
    assert_eq!(names(&dir, &["*/../a.pn[g]"]).unwrap(), ["e/../a.png"]);
    assert!(names(&dir, &["[.png"]).unwrap_err().contains("[.png"));
}

#[test]
fn nothing_found_is_an_error_that_names_it() {
    let dir = folder(&["sub/notes.txt", "a.png"]);
    for typed in ["sub", "*.gif", "none.png"] {
        let error = names(&dir, &["a.png", typed]).unwrap_err();
        assert!(error.contains(typed), "{error}");
    }
    assert!(resolve(&["-".into(), "-".into()], None).is_err());
    assert!(matches!(&resolve(&["-".into()], None).unwrap()[..], [Ok(Input::Stdin)]));
    let list = List { path: "-".into(), null: false };
    assert!(resolve(&["-".into()], Some(&list)).is_err());
}

#[test]
fn what_can_not_be_looked_into_is_said_in_its_place() {
    let dir = folder(&["a.png", "c.png"]);
    std::os::unix::fs::symlink("gone", dir.path().join("b.png")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("d.png"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(names(&dir, &[""]).unwrap(), ["a.png", "b.png: entity not found", "c.png"]);
}

#[test]
fn a_name_need_not_be_text() {
    let dir = folder(&[]);
    let odd = dir.path().join(OsStr::from_bytes(b"caf\xe9.png"));
    fs::write(&odd, "x").unwrap();
    assert_eq!(names(&dir, &[""]).unwrap(), ["caf\\xE9.png"]);
    for glob in ["*.png", "caf?.png", "**/caf*"] {
        assert_eq!(names(&dir, &[glob]).unwrap(), ["caf\\xE9.png"], "{glob}");
    }
    let found = resolve(&[odd.clone().into_os_string()], None).unwrap();
    assert!(matches!(&found[..], [Ok(Input::File(path))] if *path == odd));
}

#[test]
fn a_list_names_files_one_a_line_or_between_zero_bytes() {
    let dir = folder(&["a.png", "b\n.png", "sub/c.png"]);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let list = dir.path().join("list");
    let read = |text: String, null| {
        fs::write(&list, text).unwrap();
        below(&dir, resolve(&[], Some(&List { path: list.clone(), null })).unwrap())
    };
    let found = read(format!("{}\n\n{}\n{}", at("a.png"), at("none.png"), at("sub")), false);
    assert_eq!(found, ["a.png", "none.png: entity not found", "sub/c.png"]);
    assert_eq!(read(format!("{}\0{}\0", at("b\n.png"), at("a.png")), true), ["b\n.png", "a.png"]);
    fs::write(&list, "\n").unwrap();
    assert!(resolve(&[], Some(&List { path: list.clone(), null: false })).is_err());
}
