//! The instrument behind the read-once rule, for tests only: while a pass is watched, a second read of any byte of guest
//! memory fails the test, and each byte is spoilt right after its first read, as a hostile guest would do.

use std::cell::RefCell;

thread_local! {
    static PASS: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Pass {
    reads: Vec<(usize, usize)>,
    spoil: bool,
}

/// Runs `body` as one pass: no byte may be read twice in it. With `spoil`, what was read is overwritten at once.
pub(crate) fn pass<R>(spoil: bool, body: impl FnOnce() -> R) -> R {
    PASS.set(Some(Pass { reads: Vec::new(), spoil }));
    let result = body();
    PASS.set(None);
    result
}

/// Notes a read of `len` bytes at `at`.
pub(super) fn read(at: *const u8, len: usize) {
    PASS.with_borrow_mut(|pass| {
        let Some(pass) = pass else { return };
        let (start, end) = (at as usize, at as usize + len);
        let twice = pass.reads.iter().any(|&(s, e)| start < e && s < end);
        assert!(!twice || len == 0, "guest memory at {at:p} ({len} bytes) is read twice in one pass");
        pass.reads.push((start, end));
        if pass.spoil {
            // SAFETY: the bytes were just read from there, and guest memory in tests is ours to write.
            unsafe { std::ptr::write_bytes(at.cast_mut(), 0xa5, len) };
        }
    });
}
