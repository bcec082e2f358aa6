//! Where a user's own configuration file lies.

use std::ffi::OsString;
use std::path::PathBuf;

/// `mlaas/<name>` in the user's configuration folder, which is `$XDG_CONFIG_HOME` or else `~/.config`; `None` where that
/// file does not exist.
#[must_use]
pub fn default_file(name: &str) -> Option<PathBuf> {
    path(name, |variable| std::env::var_os(variable)).filter(|path| path.exists())
}

fn path(name: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // Both must be absolute: else what a program does would hang on where it is started.
    let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("mlaas").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_folder_goes_before_the_home_folder() {
        let at = |xdg: &str, home: &str| {
            let variable = |name: &str| Some(OsString::from(if name == "HOME" { home } else { xdg }));
            path("client.yaml", variable).map(|path| path.display().to_string())
        };
        assert_eq!(at("/x", "/home/me").as_deref(), Some("/x/mlaas/client.yaml"));
        assert_eq!(at("", "/home/me").as_deref(), Some("/home/me/.config/mlaas/client.yaml"));
        assert_eq!(at("relative", "/home/me").as_deref(), Some("/home/me/.config/mlaas/client.yaml"));
        assert_eq!(at("", ""), None);
    }
}
