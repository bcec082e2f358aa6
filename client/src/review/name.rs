//! What the folder of a label is called: a label is a stranger's text, and a folder's name must lead nowhere else.

/// Names that stand for devices on some systems, where a folder of that name can't be made or read.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The folder of a label: its own name, and `_` in place of each `/` in it.
///
/// # Errors
/// What is wrong with the label, a sentence that names it.
pub fn folder_name(label: &str) -> Result<String, String> {
    let wrong =
        |why: &str| Err(format!("the label '{}' {why}: no folder can have its name", label.escape_debug()));
    if let Err(why) = wire::label::check(label) {
        return wrong(&why);
    }
    if label.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return wrong("leads out of its folder");
    }
    if label.starts_with('.') {
        return wrong("begins with a dot, and what does is passed over by whoever learns from the folder");
    }
    if label.contains('\\') || label.ends_with('.') {
        return wrong("holds a backslash or ends with a dot");
    }
    let name = label.replace('/', "_");
    let stem = name.split('.').next().unwrap_or_default().trim().to_lowercase();
    let numbered = ["com", "lpt"].iter().any(|device| {
        stem.strip_prefix(device).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    });
    if numbered || RESERVED.contains(&stem.as_str()) {
        return wrong("is the name of a device");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::folder_name;

    #[test]
    fn a_folder_has_its_label_s_name_and_leads_nowhere_else() {
        for (label, name) in [
            ("Coat", "Coat"),
            ("T-shirt/top", "T-shirt_top"),
            ("Ankle boot", "Ankle boot"),
            ("oiseau à tête rouge", "oiseau à tête rouge"),
            ("鳥", "鳥"),
            ("no. 5", "no. 5"),
            ("console", "console"),
            ("-rf", "-rf"),
        ] {
            assert_eq!(folder_name(label).as_deref(), Ok(name));
        }
        let (long, wide) = ("x".repeat(201), "é".repeat(101));
        for (label, said) in [
            ("", "is empty"),
            ("  ", "is empty"),
            (" Coat", "begins or ends with a space"),
            (&*long, "longer than 200"),
            (&*wide, "longer than 200"),
            ("..", "leads out"),
            ("../../etc", "leads out"),
            ("a/../b", "leads out"),
            ("/etc", "leads out"),
            ("a//b", "leads out"),
            ("a/", "leads out"),
            (".hidden", "begins with a dot"),
            ("a\\b", "backslash"),
            ("a.", "ends with a dot"),
            ("a\nb", "control character"),
            ("a\0b", "control character"),
            ("a\u{202e}b", "control character"),
            ("NUL", "a device"),
            ("nul.txt", "a device"),
            ("Com1", "a device"),
        ] {
            let error = folder_name(label).unwrap_err();
            assert!(error.contains(said), "{label:?}: {error}");
            assert!(!error.contains(['\n', '\0', '\u{202e}']), "{error:?} would steer a terminal");
        }
    }
}
