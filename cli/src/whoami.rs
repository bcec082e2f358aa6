//! Who runs a program, for what others may want to know later.

use nix::unistd::{User, gethostname, getuid};

/// Who runs this: user@machine.
#[must_use]
pub fn whoami() -> String {
    let user = User::from_uid(getuid()).ok().flatten().map_or_else(|| getuid().to_string(), |user| user.name);
    let machine = gethostname().ok().and_then(|name| name.into_string().ok());
    machine.map_or(user.clone(), |machine| format!("{user}@{machine}"))
}
