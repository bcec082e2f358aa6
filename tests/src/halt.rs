//! One thread of a process that stands still while all others go on, as one does that hangs: by ptrace, which a parent may do
//! to its children.

use std::marker::PhantomData;
use std::path::Path;

use nix::libc;

use crate::process::Process;

/// A thread that stands still until this is dropped. Only the thread that stopped it can let it go on.
pub struct Halted {
    thread: libc::pid_t,
    not_send: PhantomData<*const ()>,
}

impl Process {
    /// Stops the thread of that name where it stands.
    ///
    /// # Panics
    /// Where there is none, or the system does not let a parent stop it.
    #[must_use = "it goes on when this is dropped"]
    pub fn halt_thread(&self, name: &str) -> Halted {
        let thread = self.thread(name);
        let refused = || panic!("cannot stop the thread {name}: {}", std::io::Error::last_os_error());
        if ptrace(libc::PTRACE_SEIZE, thread) != 0 || ptrace(libc::PTRACE_INTERRUPT, thread) != 0 {
            refused();
        }
        let halted = Halted { thread, not_send: PhantomData };
        // SAFETY: `waitpid` takes a null pointer for "the status is of no interest".
        #[allow(unsafe_code)]
        let stopped = unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) };
        if stopped != thread {
            refused();
        }
        halted
    }

    fn thread(&self, name: &str) -> libc::pid_t {
        let tasks = format!("/proc/{}/task", self.pid());
        let entries = std::fs::read_dir(&tasks).unwrap_or_else(|e| panic!("{tasks}: {e}"));
        let is_called =
            |task: &Path| std::fs::read_to_string(task.join("comm")).is_ok_and(|c| c.trim() == name);
        let found = entries.flatten().map(|entry| entry.path()).find(|task| is_called(task));
        let id = found.and_then(|task| task.file_name()?.to_str()?.parse().ok());
        id.unwrap_or_else(|| panic!("{tasks} has no thread {name}"))
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // Where its process has ended there is nothing to let go.
        ptrace(libc::PTRACE_DETACH, self.thread);
    }
}

fn ptrace(request: libc::c_uint, thread: libc::pid_t) -> libc::c_long {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the three requests that are made here reads or writes memory.
    #[allow(unsafe_code)]
    unsafe {
        libc::ptrace(request, thread, none, none)
    }
}
