//! Rust's allocator for the programs: what is large comes from the kernel and goes back to it at once.
//!
//! The programs tell glibc to keep all pages that it ever had (`model::configure_process`), since libtorch takes the same large pieces
//! again and again. A decoded photograph is another matter: tens of megabytes, once, on several threads at a time. Taken from
//! glibc it would stay with the process for ever. Rust's pieces of a mebibyte and more are therefore mapped and unmapped one by
//! one; libtorch and all other C code allocate as before.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// From here on a piece is mapped on its own. Below, the system call and the fresh pages would cost more than they save.
const LARGE: usize = 1 << 20;
/// What every mapping is aligned to.
const PAGE: usize = 4096;

/// The system's allocator for small pieces, the kernel for large ones. For `#[global_allocator]` in a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePiecesMapped;

/// A piece's size does not change but by `realloc`, so the same rule holds when it is freed.
fn is_mapped(layout: Layout) -> bool {
    cfg!(target_os = "linux") && layout.size() >= LARGE && layout.align() <= PAGE
}

#[allow(unsafe_code)]
fn map(size: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, of no file, wherever the kernel likes: nobody's memory is touched.
    let start = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
}

// SAFETY: each piece is either the system allocator's or a mapping of its own, by the same rule on its layout when it is taken,
// resized and freed; a mapping is aligned to a page and filled with zeros.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for LargePiecesMapped {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if is_mapped(layout) { map(layout.size()) } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on.
        if is_mapped(layout) { map(layout.size()) } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: it is a mapping of this size, and the caller has done with it.
            unsafe { libc::munmap(piece.cast(), layout.size()) };
        } else {
            // SAFETY: the caller's promises are handed on.
            unsafe { System.dealloc(piece, layout) };
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up to the alignment, is one that a layout may have.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_mapped(layout), is_mapped(new)) {
            // SAFETY: the caller's promises are handed on.
            (false, false) => unsafe { System.realloc(piece, layout, size) },
            (true, true) => {
                // SAFETY: it is a mapping of the old size; the kernel moves pages, not bytes.
                let start = unsafe { libc::mremap(piece.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
                if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
            }
            _ => {
                // SAFETY: two pieces apart, each at least as long as what is copied; the old one is freed once, after that.
                unsafe {
                    let to = self.alloc(new);
                    if !to.is_null() {
                        ptr::copy_nonoverlapping(piece, to, layout.size().min(size));
                        self.dealloc(piece, layout);
                    }
                    to
                }
            }
        }
    }
}
