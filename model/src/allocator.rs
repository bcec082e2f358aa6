//! How the process treats memory and threads: set once, before the first tensor.

/// Makes glibc keep the pages that it has, and libtorch compute on the calling thread only. Call it first thing in `main`.
///
/// With glibc's defaults a large activation goes back to the kernel when it is freed and is faulted in again, page by page and
/// zeroed, by the next layer: bigger batches become slower. `docs/performance.md` has the figures.
pub fn configure_process() {
    keep_pages();
    // As many models side by side as there are cores are faster than one model on all of them.
    tch::set_num_threads(1);
    tch::set_num_interop_threads(1);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn keep_pages() {
    const MIB: libc::c_int = 1 << 20;
    let options = [
        // Nothing is mapped alone and unmapped when freed ...
        (libc::M_MMAP_MAX, 0),
        // ... and the heap never shrinks.
        (libc::M_TRIM_THRESHOLD, -1),
        // It grows by this much more than is asked for.
        (libc::M_TOP_PAD, 64 * MIB),
        // Small pieces are merged when they are freed, not all of them whenever a large one is.
        (libc::M_MXFAST, 0),
        // One heap for all threads, so that what one frees another can use.
        (libc::M_ARENA_MAX, 1),
    ];
    for (option, value) in options {
        // SAFETY: mallopt takes two integers by value, locks the allocator itself, and refuses values it does not know.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Gives the kernel back what is free, once: for after the load of a model, which needs its size several times over, and for when one is gone.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn give_memory_back() {
    // SAFETY: malloc_trim takes an integer by value, locks the allocator itself, and touches free memory only.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_memory_back() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_pages() {}
