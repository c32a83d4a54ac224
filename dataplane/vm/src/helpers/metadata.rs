//! What a port knows of a packet beside its bytes (net/core/xdp.c, 6.18: the stubs answer `-EOPNOTSUPP`).

use weir_ebpf::abi::Errno;

use super::call::Call;

pub(super) fn rx_timestamp(call: &mut Call<'_>) -> Result<(), Errno> {
    let found = call.env().rx_metadata().timestamp_ns.ok_or(Errno::EOPNOTSUPP)?;
    call.fixed(1).write(0, &found.to_ne_bytes());
    Ok(())
}

pub(super) fn rx_hash(call: &mut Call<'_>) -> Result<(), Errno> {
    let (hash, kind) = call.env().rx_metadata().hash.ok_or(Errno::EOPNOTSUPP)?;
    call.fixed(1).write(0, &hash.to_ne_bytes());
    call.fixed(2).write(0, &kind.to_ne_bytes());
    Ok(())
}

pub(super) fn rx_vlan_tag(call: &mut Call<'_>) -> Result<(), Errno> {
    let (protocol, tci) = call.env().rx_metadata().vlan.ok_or(Errno::EOPNOTSUPP)?;
    call.fixed(1).write(0, &protocol.to_be_bytes());
    call.fixed(2).write(0, &tci.to_ne_bytes());
    Ok(())
}
