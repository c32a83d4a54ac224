//! Where each field of a program's view lies in [`Context`]: the one table of the translation.

use std::mem::offset_of;

use weir_ebpf::abi::{ContextField, SkbField, XdpField};

use super::Context;

/// Where a field of a program's view lies in [`Context`].
///
/// An access of `n` bytes at byte `k` of the field becomes an access of `n` bytes at
/// `offset + k`; a 4-byte load of a pointer field (`data`, `data_end`, `data_meta`) becomes an
/// 8-byte one. A full 4-byte store writes only `stored` bytes, for the fields that the kernel keeps
/// in 16 bits; their upper half is always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Bytes from the start of [`Context`].
    pub offset: u32,
    /// Bytes that a full load reads.
    pub size: u32,
    /// Bytes that a full store writes: `size`, or 2.
    pub stored: u32,
}

macro_rules! at {
    ($field:ident) => {
        (offset_of!(Context<'static>, $field), 4, 4)
    };
    ($field:ident as $size:literal) => {
        (offset_of!(Context<'static>, $field), $size, $size)
    };
    ($field:ident as $size:literal stored $stored:literal) => {
        (offset_of!(Context<'static>, $field), $size, $stored)
    };
}

/// Where each program-visible field lies: the one table of the translation.
pub const fn slot(field: ContextField) -> Slot {
    let (offset, size, stored) = match field {
        ContextField::Xdp(field) => xdp_slot(field),
        ContextField::Skb(field) => skb_slot(field),
    };
    Slot { offset: offset as u32, size, stored }
}

const fn xdp_slot(field: XdpField) -> (usize, u32, u32) {
    match field {
        XdpField::Data => at!(data as 8),
        XdpField::DataEnd => at!(data_end as 8),
        XdpField::DataMeta => at!(data_meta as 8),
        XdpField::IngressIfindex => at!(ingress_ifindex),
        XdpField::RxQueueIndex => at!(rx_queue_index),
        XdpField::EgressIfindex => at!(egress_ifindex),
    }
}

const fn skb_slot(field: SkbField) -> (usize, u32, u32) {
    match field {
        SkbField::Len => at!(len),
        SkbField::PktType => at!(pkt_type),
        SkbField::Mark => at!(mark),
        SkbField::QueueMapping => at!(queue_mapping as 4 stored 2),
        SkbField::Protocol => at!(protocol),
        SkbField::VlanPresent => at!(vlan_present),
        SkbField::VlanTci => at!(vlan_tci),
        SkbField::VlanProto => at!(vlan_proto),
        SkbField::Priority => at!(priority),
        SkbField::IngressIfindex => at!(ingress_ifindex),
        SkbField::Ifindex => at!(ifindex),
        SkbField::TcIndex => at!(tc_index as 4 stored 2),
        SkbField::Cb => at!(cb as 20),
        SkbField::Hash => at!(hash),
        SkbField::TcClassid => at!(tc_classid as 4 stored 2),
        SkbField::Data => at!(data as 8),
        SkbField::DataEnd => at!(data_end as 8),
        SkbField::DataMeta => at!(data_meta as 8),
        SkbField::Tstamp => at!(tstamp as 8),
        SkbField::WireLen => at!(wire_len),
        SkbField::GsoSegs => at!(gso_segs),
        SkbField::GsoSize => at!(gso_size),
        SkbField::TstampType => at!(tstamp_type as 1),
        SkbField::NapiId
        | SkbField::Family
        | SkbField::RemoteIp4
        | SkbField::LocalIp4
        | SkbField::RemotePort
        | SkbField::LocalPort => at!(zero),
        SkbField::RemoteIp6 | SkbField::LocalIp6 => at!(zero as 16),
        SkbField::FlowKeys | SkbField::Sk | SkbField::Hwtstamp => at!(zero as 8),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use weir_ebpf::ProgramType;
    use weir_ebpf::abi::context::FieldAccess;

    #[test]
    fn every_visible_field_has_a_slot_inside_the_context_and_no_two_writable_ones_meet() {
        let fields = XdpField::ALL.iter().map(|&field| ContextField::Xdp(field));
        let fields = fields.chain(SkbField::ALL.iter().map(|&field| ContextField::Skb(field)));
        let mut written: Vec<Range<u32>> = Vec::new();
        for field in fields {
            let slot = slot(field);
            assert!((slot.offset + slot.size) as usize <= size_of::<Context<'static>>());
            if field.access(ProgramType::SchedCls) == FieldAccess::ReadWrite {
                let range = slot.offset..slot.offset + slot.size;
                assert!(written.iter().all(|other| range.end <= other.start || other.end <= range.start));
                written.push(range);
            }
        }
    }
}
