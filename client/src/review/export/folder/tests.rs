use super::*;

const PNG: &[u8] = b"\x89PNG one";
const JPEG: &[u8] = b"\xff\xd8\xffother";

fn open(folder: &Path) -> Folder {
    Folder::open(folder).unwrap()
}

fn put(folder: &mut Folder, name: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    folder.plan("bird", [(&digest, &name.to_owned())].into_iter()).unwrap();
    assert_eq!(folder.add("bird", &digest, name, bytes).unwrap(), None);
    digest
}

fn written(folder: &Folder) -> Written {
    folder.written("bird").pop().unwrap().1
}

#[test]
fn what_is_written_is_moved_and_removed_and_leaves_no_empty_class() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    let digest = put(&mut folder, "macaw", PNG);
    folder.finish().unwrap();
    drop(folder);
    let mut folder = open(dir.path());
    let file = written(&folder);
    assert!(file.file.ends_with(".png") && file.folder == "macaw", "{file:?}");
    assert_eq!(fs::read(dir.path().join("macaw").join(&file.file)).unwrap(), PNG);
    assert_eq!(folder.shift("bird", &digest, &file, "owl").unwrap(), Kept::Moved);
    assert!(!dir.path().join("macaw").exists());
    let file = written(&folder);
    assert_eq!(fs::read(dir.path().join("owl").join(&file.file)).unwrap(), PNG);
    assert_eq!(folder.remove("bird", &digest, &file).unwrap(), Kept::Removed);
    assert!(!dir.path().join("owl").exists() && !folder.has("bird", &digest));
    put(&mut folder, "owl", JPEG);
    assert!(written(&folder).file.ends_with(".jpg"));
}

#[test]
fn what_somebody_changed_or_put_there_is_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    let digest = put(&mut folder, "macaw", PNG);
    let file = written(&folder);
    let path = dir.path().join("macaw").join(&file.file);
    fs::write(&path, b"cropped").unwrap();
    assert!(
        matches!(folder.remove("bird", &digest, &file).unwrap(), Kept::Changed(why) if why.contains("left as it is"))
    );
    assert_eq!(fs::read(&path).unwrap(), b"cropped");
    assert!(!folder.has("bird", &digest));
    assert!(folder.add("bird", &digest, "macaw", PNG).unwrap().unwrap().contains("another image"));
    // The very same image is nobody's to remove but whoever's who put it there.
    fs::write(&path, PNG).unwrap();
    assert_eq!(folder.add("bird", &digest, "macaw", PNG).unwrap(), None);
    assert!(!folder.has("bird", &digest));
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("owl")).unwrap();
    let error = folder.add("bird", &self::digest(JPEG), "owl", JPEG).unwrap_err().to_string();
    assert!(error.contains("is none"), "{error}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "it led out of the folder");
    assert!(folder.add("bird", &digest, "owl", JPEG).unwrap().unwrap().contains("not the one"));
}

#[test]
fn an_export_that_was_ended_leaves_nothing_that_the_next_one_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = open(dir.path());
    let (one, other) = (digest(PNG), digest(JPEG));
    let planned = [(&one, &"macaw".to_owned()), (&other, &"owl".to_owned())];
    folder.plan("bird", planned.into_iter()).unwrap();
    folder.add("bird", &one, "macaw", PNG).unwrap();
    // Killed: what is written is there, and the list says only what was planned.
    drop(folder);
    let mut folder = open(dir.path());
    assert!(folder.has("bird", &one) && !folder.has("bird", &other));
    let file = written(&folder);
    // And once more, when it was moved and the list not written yet.
    folder.finish().unwrap();
    fs::create_dir(dir.path().join("owl")).unwrap();
    fs::rename(dir.path().join("macaw").join(&file.file), dir.path().join("owl").join(&file.file)).unwrap();
    assert_eq!(folder.shift("bird", &one, &file, "owl").unwrap(), Kept::Moved);
    assert_eq!(written(&folder).folder, "owl");
}

#[test]
fn two_exports_at_once_are_one_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    assert!(matches!(Folder::open(dir.path()), Err(ExportError::Busy(_))));
    drop(first);
    open(dir.path());
}

#[test]
fn a_list_that_names_what_no_export_writes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, hex) = (digest(PNG), digest(PNG).trim_start_matches("sha256:").to_owned());
    let list = |folder: &str, file: &str| {
        let written = serde_json::json!({ "folder": folder, "file": file });
        serde_json::json!({"version": 1, "files": {"bird": {&one: written}}}).to_string()
    };
    for (text, said) in [
        (list("..", &format!("{hex}.png")), "it names ../"),
        (list("a/b", &format!("{hex}.png")), "it names a/b/"),
        (list("a", "../../etc/passwd"), "it names a/../../etc/passwd"),
        (list("a", "passwd.png"), "it names a/passwd.png"),
        (list("", &format!("{hex}.png")), "it names /"),
        (r#"{"version": 2, "files": {}}"#.to_owned(), "version 2"),
        ("{}".to_owned(), "version"),
        (String::new(), "EOF"),
    ] {
        fs::write(dir.path().join(MANIFEST), &text).unwrap();
        let error = Folder::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    fs::write(dir.path().join(MANIFEST), list("a", &format!("{hex}.png"))).unwrap();
    open(dir.path());
}
