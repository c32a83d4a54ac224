//! Questions about the task that runs, and reads of memory by address (kernel/bpf/helpers.c,
//! kernel/trace/bpf_trace.c, 6.18). The task is a worker; no program's user is near it.

use weir_ebpf::abi::Errno;

use super::call::Call;

/// What a worker is called.
const NAME: &[u8] = b"weir";

/// `bpf_get_current_comm`.
pub(super) fn name(call: &mut Call<'_>) -> Result<(), Errno> {
    let into = call.memory(0);
    into.clear();
    let length = NAME.len().min(into.len().saturating_sub(1));
    into.write(0, &NAME[..length]);
    Ok(())
}

/// `bpf_get_ns_current_pid_tgid`: it is in no namespace that a program can name.
pub(super) fn ids(call: &mut Call<'_>) -> Errno {
    call.memory(2).clear();
    Errno::EINVAL
}

/// `bpf_perf_event_read_value`: no slot holds a counter.
pub(super) fn counter(call: &mut Call<'_>) -> Errno {
    call.memory(2).clear();
    Errno::ENOENT
}

/// Reads of user memory: there is no user.
pub(super) fn user(call: &mut Call<'_>) -> Errno {
    call.memory(0).clear();
    Errno::EFAULT
}

/// `bpf_probe_read_kernel`.
pub(super) fn read(call: &mut Call<'_>) -> Result<(), Errno> {
    let (into, from) = (call.memory(0), call.u64(2));
    let mut bytes = vec![0; into.len()];
    let whole = weir_sys::probe::read(from, &mut bytes) == bytes.len();
    if !whole {
        into.clear();
        return Err(Errno::EFAULT);
    }
    into.write(0, &bytes);
    Ok(())
}

/// `bpf_probe_read_kernel_str`: up to a zero; answers how many bytes that is with it.
pub(super) fn text(call: &mut Call<'_>) -> Result<u64, Errno> {
    let (into, from) = (call.memory(0), call.u64(2));
    if into.len() == 0 {
        return Ok(0);
    }
    let mut bytes = vec![0; into.len()];
    let read = weir_sys::probe::read(from, &mut bytes);
    let end = bytes[..read].iter().position(|byte| *byte == 0);
    into.clear();
    let length = match end {
        Some(end) => end,
        None if read == bytes.len() => read - 1,
        None => return Err(Errno::EFAULT),
    };
    into.write(0, &bytes[..length]);
    Ok(length as u64 + 1)
}
