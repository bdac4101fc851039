//! A library to be preloaded into the server: its wall clock runs behind by MARIGRAM_BENCH_CLOCK_BEHIND_NS. The load covers one
//! whole window of the past; a server with the machine's clock would take that window for long overdue and cut it again
//! and again while it is being filled.
//!
//! Compiled by the benchmark with `rustc --crate-type cdylib`; not part of any crate.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanos: i64,
}

type ClockGettime = unsafe extern "C" fn(c_int, *mut Timespec) -> c_int;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn getenv(name: *const c_char) -> *const c_char;
}

const CLOCK_REALTIME: c_int = 0;
const CLOCK_REALTIME_COARSE: c_int = 5;
/// The next library's symbol, as <dlfcn.h> has it.
const RTLD_NEXT: *mut c_void = -1isize as *mut c_void;

static NEXT: AtomicUsize = AtomicUsize::new(0);
static BEHIND_NS: AtomicI64 = AtomicI64::new(0);

#[cold]
fn resolve() -> usize {
    // SAFETY: both names are C strings; what getenv gives is one too, or null, which is checked.
    let (next, behind) = unsafe {
        (dlsym(RTLD_NEXT, c"clock_gettime".as_ptr()), getenv(c"MARIGRAM_BENCH_CLOCK_BEHIND_NS".as_ptr()))
    };
    if !behind.is_null() {
        // SAFETY: see above; the environment is not changed while the process starts.
        let text = unsafe { CStr::from_ptr(behind) };
        let parsed = text.to_str().ok().and_then(|text| text.parse().ok());
        BEHIND_NS.store(parsed.unwrap_or(0), Ordering::Relaxed);
    }
    NEXT.store(next as usize, Ordering::Release);
    next as usize
}

/// The C library's function of this name, with the wall clock set back.
///
/// # Safety
/// As of the C library's: `time` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let mut next = NEXT.load(Ordering::Acquire);
    if next == 0 {
        next = resolve();
    }
    // SAFETY: `next` is the address of the C library's clock_gettime, which has this type.
    let next: ClockGettime = unsafe { std::mem::transmute(next) };
    // SAFETY: the caller's `time` is handed on.
    let result = unsafe { next(clock, time) };
    if result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        // SAFETY: the call above succeeded, so `time` is valid and holds a time.
        let time = unsafe { &mut *time };
        let ns = time.seconds * 1_000_000_000 + time.nanos - BEHIND_NS.load(Ordering::Relaxed);
        (time.seconds, time.nanos) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    }
    result
}
