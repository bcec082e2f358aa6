//! Who runs a program, and which of many it is, for what others may want to know later.

use nix::unistd::{User, gethostname, getuid};

/// Who runs this: user@machine.
#[must_use]
pub fn whoami() -> String {
    let user = User::from_uid(getuid()).ok().flatten().map_or_else(|| getuid().to_string(), |user| user.name);
    let machine = gethostname().ok().and_then(|name| name.into_string().ok());
    machine.map_or(user.clone(), |machine| format!("{user}@{machine}"))
}

/// A name for this process that no other has: of its machine, else of `program`, and its number.
#[must_use]
pub fn process_name(program: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { program } else { host };
    format!("{host}-{}", std::process::id())
}
