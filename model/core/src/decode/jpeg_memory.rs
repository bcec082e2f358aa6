//! Where libjpeg's memory comes from: Rust's allocator, in place of C's. It leaves this to each program by design (`jmemsys.h`: "the
//! system-dependent part of the memory manager"), and the linker takes these functions before the library's own.
//!
//! The coefficients of a progressive photograph are tens of megabytes. C's allocator never gives memory back to the system
//! here, since libtorch is faster so; Rust's does for large pieces. It is told each size when it frees, too.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{c_long, c_void};
use std::ptr;

/// As strict as C's `malloc`.
const ALIGNMENT: usize = 16;

fn allocate(bytes: usize) -> *mut c_void {
    match Layout::from_size_align(bytes.max(1), ALIGNMENT) {
        // SAFETY: the size is not zero. A null is what libjpeg expects where there is no memory.
        Ok(layout) => unsafe { alloc(layout) }.cast(),
        Err(_) => ptr::null_mut(),
    }
}

/// # Safety
/// `object` is from [`allocate`] with the same number of bytes, and not used again.
unsafe fn free(object: *mut c_void, bytes: usize) {
    if !object.is_null()
        && let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGNMENT)
    {
        // SAFETY: the caller's promise.
        unsafe { dealloc(object.cast(), layout) };
    }
}

// SAFETY of the names: libjpeg's header reserves them for this purpose, and nothing else of that name is linked.

#[unsafe(no_mangle)]
extern "C" fn jpeg_get_small(_: *mut c_void, bytes: usize) -> *mut c_void {
    allocate(bytes)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn jpeg_free_small(_: *mut c_void, object: *mut c_void, bytes: usize) {
    // SAFETY: libjpeg frees what it got, once, and tells its size.
    unsafe { free(object, bytes) };
}

#[unsafe(no_mangle)]
extern "C" fn jpeg_get_large(_: *mut c_void, bytes: usize) -> *mut c_void {
    allocate(bytes)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn jpeg_free_large(_: *mut c_void, object: *mut c_void, bytes: usize) {
    // SAFETY: libjpeg frees what it got, once, and tells its size.
    unsafe { free(object, bytes) };
}

/// How much of what it wants it may have: all, since the file's header was held against the budget before.
#[unsafe(no_mangle)]
extern "C" fn jpeg_mem_available(_: *mut c_void, _least: usize, most: usize, _allocated: usize) -> usize {
    most
}

/// A temporary file in place of memory; never asked for by one who got all that it wanted.
#[unsafe(no_mangle)]
extern "C-unwind" fn jpeg_open_backing_store(_: *mut c_void, _: *mut c_void, _: c_long) {
    std::panic::resume_unwind(Box::new("libjpeg asks for a temporary file".to_owned()));
}

/// Nothing is to be set up: no bound of its own.
#[unsafe(no_mangle)]
extern "C" fn jpeg_mem_init(_: *mut c_void) -> c_long {
    0
}

#[unsafe(no_mangle)]
extern "C" fn jpeg_mem_term(_: *mut c_void) {}
