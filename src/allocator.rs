//! The allocator: what a request needed at its peak goes back to the system when the request is done.
//!
//! glibc maps large buffers on their own and unmaps them when they are freed, but each time that happens it raises the
//! size from which it does so, up to 32 MiB. Soon the buffers of all requests lie in the heaps of the threads that served
//! them, and stay resident: sixteen threads with bodies of a few megabytes held 240 MiB instead of 60. A size that is
//! set stays fixed.
//!
//! Smaller buffers lie in the heaps. glibc cuts the end of a heap off when 128 KiB there are free, which is less than one write takes,
//! so that each asked for its pages anew. A little more stays: the kernel's share of a write in page faults fell to a third.

/// Smaller than the buffers of a large request, larger than those of an ordinary one, which are to be reused.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM_BYTES: i32 = 256 << 10;

/// What may stay free at the end of each heap, of which there are at most eight for each core.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_FREE_BYTES: i32 = 1 << 20;

/// To be called before any other thread is started.
pub fn return_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers, touches nothing but the allocator's own settings, and no other thread runs yet.
    // It fails only for a size that glibc does not take; then things stay as they are.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_FREE_BYTES);
    }
}
