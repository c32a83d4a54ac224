//! Where each field of a program's view lies in [`Context`]: the one table of the translation.

use std::mem::offset_of;

use weir_ebpf::abi::{ContextField, SkbField, XdpField};

use super::Context;

/// Where a field of a program's view lies in [`Context`]. [`Slot::access`] says what becomes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Bytes from the start of [`Context`].
    pub offset: u32,
    /// Bytes that a full load reads: 8 for pointers, which a program loads with 4.
    pub size: u32,
    /// Bytes that the kernel keeps, and a full store therefore writes: fewer than `size` where the kernel's
    /// structure has a shorter field. The bytes above are always zero.
    pub kept: u32,
    /// Stores of this number or more do nothing.
    pub ignored_from: Option<u32>,
}

impl Slot {
    /// Where an access of `size` bytes at byte `within` of the field goes, as bytes from the start of
    /// [`Context`], and how many bytes it then has.
    ///
    /// A narrow load that is not narrower than what the kernel keeps reads the field from its start,
    /// wherever the program says: so `convert_ctx_accesses` leaves it, and so programs see it.
    pub const fn access(self, field_size: u32, within: u32, size: u32, store: bool) -> (u32, u32) {
        if size == field_size {
            return (self.offset, if store { self.kept } else { self.size });
        }
        if !store && size >= self.kept { (self.offset, size) } else { (self.offset + within, size) }
    }
}

macro_rules! at {
    ($field:ident) => {
        (offset_of!(Context<'static>, $field), 4, 4)
    };
    ($field:ident as $size:literal) => {
        (offset_of!(Context<'static>, $field), $size, $size)
    };
    ($field:ident kept $kept:literal) => {
        (offset_of!(Context<'static>, $field), 4, $kept)
    };
}

/// Where each program-visible field lies: the one table of the translation.
pub const fn slot(field: ContextField) -> Slot {
    // `NO_QUEUE_MAPPING`: a queue number that is none is not taken.
    let ignored_from = match field {
        ContextField::Skb(SkbField::QueueMapping) => Some(0xffff),
        ContextField::Skb(_) | ContextField::Xdp(_) | ContextField::Plain(_) => None,
    };
    let (offset, size, kept) = match field {
        ContextField::Xdp(field) => xdp_slot(field),
        ContextField::Skb(field) => skb_slot(field),
        // Who sees these is proven, and not made ready to run.
        ContextField::Plain(_) => at!(zero as 8),
    };
    Slot { offset: offset as u32, size, kept, ignored_from }
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
        SkbField::PktType => at!(pkt_type kept 1),
        SkbField::Mark => at!(mark),
        SkbField::QueueMapping => at!(queue_mapping kept 2),
        SkbField::Protocol => at!(protocol kept 2),
        SkbField::VlanPresent => at!(vlan_present),
        SkbField::VlanTci => at!(vlan_tci kept 2),
        SkbField::VlanProto => at!(vlan_proto kept 2),
        SkbField::Priority => at!(priority),
        SkbField::IngressIfindex => at!(ingress_ifindex),
        SkbField::Ifindex => at!(ifindex),
        SkbField::TcIndex => at!(tc_index kept 2),
        SkbField::Cb => at!(cb as 20),
        SkbField::Hash => at!(hash),
        SkbField::TcClassid => at!(tc_classid kept 2),
        SkbField::Data => at!(data as 8),
        SkbField::DataEnd => at!(data_end as 8),
        SkbField::DataMeta => at!(data_meta as 8),
        SkbField::Tstamp => at!(tstamp as 8),
        SkbField::WireLen => at!(wire_len),
        SkbField::GsoSegs => at!(gso_segs kept 2),
        SkbField::GsoSize => at!(gso_size kept 2),
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
