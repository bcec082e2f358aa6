//! Where OpenVINO lies: opened once a process, by its path.
//!
//! Looked for in this order: the folder that the environment variable [`VARIABLE`] names, and nowhere else where it is set;
//! `../lib` beside the executable, as in the container image; `.deps/openvino/lib` of the checkout that this was built in, where
//! `make openvino` puts it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Names a folder that holds OpenVINO's libraries.
pub const VARIABLE: &str = "MLAAS_OPENVINO";

/// The library with OpenVINO's C interface; wheels add a version to the name.
const NAME: &str = "libopenvino_c.so";

/// OpenVINO is not there, or cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Missing {
    /// It lies nowhere.
    #[error("OpenVINO's library is not there: `make openvino` fetches it (looked in {looked_in})")]
    NotFound {
        /// The folders that were looked in, separated by commas.
        looked_in: String,
    },
    /// The folder that the variable names does not hold it.
    #[error(
        "{VARIABLE} is {folder}, and there is no {NAME} in it: unset it, and `make openvino` fetches one"
    )]
    NotThere {
        /// The variable's value.
        folder: String,
    },
    /// It is there and does not open.
    #[error("OpenVINO's library {path} can't be used: {reason}")]
    Unusable {
        /// The library.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The path of OpenVINO's library, which is open from then on.
///
/// # Errors
/// [`Missing`] where it is not there or cannot be used. Whoever asks again has it looked for again.
pub fn library() -> Result<PathBuf, Missing> {
    static OPEN: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*open {
        return Ok(path.clone());
    }
    let path = find(env::var_os(VARIABLE), &usual())?;
    openvino_sys::library::load_from(&path)
        .map_err(|reason| Missing::Unusable { path: path.display().to_string(), reason })?;
    Ok(open.insert(path).clone())
}

/// Where it may lie, where nobody says.
fn usual() -> Vec<PathBuf> {
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.parent()?.join("lib")));
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/openvino/lib");
    beside.into_iter().chain([checkout]).collect()
}

fn find(named: Option<OsString>, usual: &[PathBuf]) -> Result<PathBuf, Missing> {
    // Empty is unset.
    if let Some(folder) = named.filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        return within(&folder).ok_or_else(|| Missing::NotThere { folder: folder.display().to_string() });
    }
    usual.iter().find_map(|folder| within(folder)).ok_or_else(|| {
        let folders: Vec<_> = usual.iter().map(|folder| folder.display().to_string()).collect();
        Missing::NotFound { looked_in: folders.join(", ") }
    })
}

/// The library in that folder. Of several versions the last by name.
fn within(folder: &Path) -> Option<PathBuf> {
    let entries = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) && path.is_file()
    };
    entries.filter(named).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_goes_before_the_usual_places_and_hides_them() {
        let root = tempfile::tempdir().unwrap();
        let [named, first, second] = ["named", "first", "second"].map(|name| root.path().join(name));
        let usual = [first.clone(), second.clone()];
        for folder in [&named, &first, &second] {
            std::fs::create_dir(folder).unwrap();
        }
        let put = |folder: &Path, name: &str| std::fs::write(folder.join(name), "").unwrap();

        let missing = find(None, &usual).unwrap_err().to_string();
        assert!(missing.contains("`make openvino`") && missing.contains("second"), "{missing}");
        // Others of its libraries, and what somebody made of it, are not it.
        put(&first, "libopenvino.so.2641");
        put(&first, "libopenvino_c.so_old");
        put(&second, "libopenvino_c.so.2641");
        assert_eq!(find(None, &usual).unwrap(), second.join("libopenvino_c.so.2641"));
        put(&first, "libopenvino_c.so");
        assert_eq!(find(Some("".into()), &usual).unwrap(), first.join("libopenvino_c.so"));

        let missing = find(Some(named.clone().into()), &usual).unwrap_err();
        assert!(missing.to_string().starts_with("MLAAS_OPENVINO is "), "{missing}");
        put(&named, "libopenvino_c.so.2700");
        assert_eq!(find(Some(named.clone().into()), &usual).unwrap(), named.join("libopenvino_c.so.2700"));
    }
}
