//! What compiled code calls that is not a helper.

use crate::run::Run;

/// Legacy packet access: the bytes at `offset` in network order, or `u64::MAX` when they are not all
/// inside the packet.
pub(super) unsafe extern "C" fn load_packet(run: *mut Run<'_>, offset: u64, bytes: u64) -> u64 {
    // SAFETY: compiled code hands on the run it was given, which has a context while a program runs.
    let packet = unsafe { (*(*run).context).packet() };
    let start = offset as u32 as usize;
    let Some(bytes) = packet.get(start..).and_then(|rest| rest.get(..bytes as usize)) else {
        return u64::MAX;
    };
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Where to go on after a tail call through a prog array that is not known before the run; 0 when
/// nowhere.
pub(super) unsafe extern "C" fn tail_call(_run: *mut Run<'_>, _map: u64, _index: u64) -> u64 {
    0
}
