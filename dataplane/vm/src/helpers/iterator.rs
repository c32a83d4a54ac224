//! Counting (`struct bpf_iter_num`; kernel/bpf/bpf_iter.c, 6.18).

use weir_ebpf::abi::Errno;

use super::call::Call;
use super::loops::LOOPS_MAX;

/// A count, as it stands in the program's stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Count {
    /// The number given last.
    pub(crate) current: i32,
    /// The number to stop before.
    pub(crate) end: i32,
}

pub(super) fn new(call: &mut Call<'_>) -> Result<(), Errno> {
    let (start, end) = (call.i32(1), call.i32(2));
    call.set_count(0, Count::default());
    if start > end {
        return Err(Errno::EINVAL);
    }
    if i64::from(end) - i64::from(start) > i64::from(LOOPS_MAX) {
        return Err(Errno::E2BIG);
    }
    call.set_count(0, Count { current: start.wrapping_sub(1), end });
    Ok(())
}

pub(super) fn next(call: &mut Call<'_>) -> u64 {
    let count = call.count(0);
    let following = count.current.wrapping_add(1);
    if following >= count.end {
        call.set_count(0, Count::default());
        return 0;
    }
    call.set_count(0, Count { current: following, ..count });
    // `current` is its first field.
    call.u64(0)
}

pub(super) fn destroy(call: &mut Call<'_>) {
    call.set_count(0, Count::default());
}
