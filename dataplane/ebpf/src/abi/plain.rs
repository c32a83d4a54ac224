//! Fields of the contexts of programs that weir proves and does not run: messages and sockets of a kernel.
//!
//! net/core/filter.c of Linux 6.18: `sk_msg_is_valid_access`, `sk_lookup_is_valid_access`,
//! `sk_reuseport_is_valid_access`, `sock_ops_is_valid_access`, `sock_filter_is_valid_access`,
//! `sock_addr_is_valid_access`.

use super::context::FieldKind;
use super::program_type::{AttachType, View};

/// Which sizes an access of a field may have; all are aligned to themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sizes {
    /// None.
    No,
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Double,
    /// 1, 2 or 4 bytes anywhere in it.
    Narrow,
    /// 2 or 4 bytes anywhere in it.
    Halves,
    /// 1, 2 or 4 bytes at its start.
    NarrowAtStart,
    /// 1, 2 or 4 bytes anywhere, or 8 that lie in it whole.
    Wide,
    /// 4 bytes, or 8 that lie in it whole.
    WideWord,
    /// A port of 2 bytes with 2 of padding: 1 or 2 of the port, or all 4.
    Port,
}

impl Sizes {
    /// Whether `size` at `within` of the field is one of them.
    const fn allows(self, within: u32, size: u32) -> bool {
        match self {
            Sizes::No => false,
            Sizes::Word => size == 4,
            Sizes::Double => size == 8,
            Sizes::Narrow => size <= 4,
            Sizes::Halves => size == 2 || size == 4,
            Sizes::NarrowAtStart => within == 0 && size <= 4,
            Sizes::Wide => true,
            Sizes::WideWord => size >= 4,
            Sizes::Port => size == 4 || within + size <= 2,
        }
    }
}

/// A field of a context that is proven only.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PlainField {
    /// The structure.
    pub view: View,
    /// The field's name in C.
    pub name: &'static str,
    /// Where it starts, in bytes.
    pub offset: u32,
    /// Bytes of it.
    pub size: u32,
    /// What a read of it gives.
    pub kind: FieldKind,
    read: Sizes,
    write: Sizes,
    /// Only programs attached there see it; none is all.
    attach: &'static [AttachType],
}

impl PlainField {
    /// The field that holds the byte at `offset` of a structure.
    pub fn at(view: View, offset: u32) -> Option<&'static PlainField> {
        FIELDS.iter().find(|field| field.view == view && offset.wrapping_sub(field.offset) < field.size)
    }

    /// Every field of a structure, by offset.
    pub fn of(view: View) -> impl Iterator<Item = &'static PlainField> {
        FIELDS.iter().filter(move |field| field.view == view)
    }

    /// Whether a program attached there may read `size` bytes at `offset`, which lie in it and are aligned.
    pub fn may_read(&self, attach: AttachType, offset: u32, size: u32) -> bool {
        self.seen_by(attach) && self.read.allows(offset - self.offset, size)
    }

    /// Whether it may write them.
    pub fn may_write(&self, attach: AttachType, offset: u32, size: u32) -> bool {
        self.seen_by(attach) && self.write.allows(offset - self.offset, size)
    }

    fn seen_by(&self, attach: AttachType) -> bool {
        self.attach.is_empty() || self.attach.contains(&attach)
    }
}

const IP4: &[AttachType] = &[
    AttachType::CgroupInet4Bind,
    AttachType::CgroupInet4Connect,
    AttachType::CgroupInet4Getpeername,
    AttachType::CgroupInet4Getsockname,
    AttachType::CgroupUdp4Sendmsg,
    AttachType::CgroupUdp4Recvmsg,
];
const IP6: &[AttachType] = &[
    AttachType::CgroupInet6Bind,
    AttachType::CgroupInet6Connect,
    AttachType::CgroupInet6Getpeername,
    AttachType::CgroupInet6Getsockname,
    AttachType::CgroupUdp6Sendmsg,
    AttachType::CgroupUdp6Recvmsg,
];
const SENDMSG4: &[AttachType] = &[AttachType::CgroupUdp4Sendmsg];
const SENDMSG6: &[AttachType] = &[AttachType::CgroupUdp6Sendmsg];
const CREATE: &[AttachType] = &[AttachType::CgroupInetSockCreate, AttachType::CgroupInetSockRelease];
const POST_BIND: &[AttachType] = &[AttachType::CgroupInet4PostBind, AttachType::CgroupInet6PostBind];
const POST_BIND4: &[AttachType] = &[AttachType::CgroupInet4PostBind];
const POST_BIND6: &[AttachType] = &[AttachType::CgroupInet6PostBind];
const ANY: &[AttachType] = &[];

macro_rules! fields {
    ($( $view:ident: $( $name:literal, $offset:literal, $size:literal, $kind:ident, $read:ident, $write:ident, $attach:ident; )+ )+) => {
        const FIELDS: &[PlainField] = &[$( $( PlainField {
            view: View::$view, name: $name, offset: $offset, size: $size, kind: FieldKind::$kind,
            read: Sizes::$read, write: Sizes::$write, attach: $attach,
        }, )+ )+];
    };
}

fields! {
    SkMsg:
        "data", 0, 8, PacketStart, Double, No, ANY;
        "data_end", 8, 8, PacketEnd, Double, No, ANY;
        "family", 16, 4, Number, Word, No, ANY;
        "remote_ip4", 20, 4, Number, Word, No, ANY;
        "local_ip4", 24, 4, Number, Word, No, ANY;
        "remote_ip6", 28, 16, Number, Word, No, ANY;
        "local_ip6", 44, 16, Number, Word, No, ANY;
        "remote_port", 60, 4, Number, Word, No, ANY;
        "local_port", 64, 4, Number, Word, No, ANY;
        "size", 68, 4, Number, Word, No, ANY;
        "sk", 72, 8, FullSocket, Double, No, ANY;
    SkLookup:
        "sk", 0, 8, FullSocketOrNull, Double, No, ANY;
        "family", 8, 4, Number, Narrow, No, ANY;
        "protocol", 12, 4, Number, Narrow, No, ANY;
        "remote_ip4", 16, 4, Number, Narrow, No, ANY;
        "remote_ip6", 20, 16, Number, Narrow, No, ANY;
        // Two bytes, and two of padding that may be read as well.
        "remote_port", 36, 4, Number, Narrow, No, ANY;
        "local_ip4", 40, 4, Number, Narrow, No, ANY;
        "local_ip6", 44, 16, Number, Narrow, No, ANY;
        "local_port", 60, 4, Number, Narrow, No, ANY;
        "ingress_ifindex", 64, 4, Number, Narrow, No, ANY;
    SkReuseport:
        "data", 0, 8, PacketStart, Double, No, ANY;
        "data_end", 8, 8, PacketEnd, Double, No, ANY;
        "len", 16, 4, Number, Narrow, No, ANY;
        "eth_protocol", 20, 4, Number, Halves, No, ANY;
        "ip_protocol", 24, 4, Number, Narrow, No, ANY;
        "bind_inany", 28, 4, Number, Narrow, No, ANY;
        "hash", 32, 4, Number, Word, No, ANY;
        "sk", 40, 8, FullSocket, Double, No, ANY;
        "migrating_sk", 48, 8, Socket, Double, No, ANY;
    SockOps:
        "op", 0, 4, Number, Word, No, ANY;
        "reply", 4, 4, Number, Word, Word, ANY;
        "replylong", 8, 12, Number, Word, No, ANY;
        "family", 20, 4, Number, Word, No, ANY;
        "remote_ip4", 24, 4, Number, Word, No, ANY;
        "local_ip4", 28, 4, Number, Word, No, ANY;
        "remote_ip6", 32, 16, Number, Word, No, ANY;
        "local_ip6", 48, 16, Number, Word, No, ANY;
        "remote_port", 64, 4, Number, Word, No, ANY;
        "local_port", 68, 4, Number, Word, No, ANY;
        "is_fullsock", 72, 4, Number, Word, No, ANY;
        "snd_cwnd", 76, 4, Number, Word, No, ANY;
        "srtt_us", 80, 4, Number, Word, No, ANY;
        "bpf_sock_ops_cb_flags", 84, 4, Number, Word, No, ANY;
        "state", 88, 4, Number, Word, No, ANY;
        "rtt_min", 92, 4, Number, Word, No, ANY;
        "snd_ssthresh", 96, 4, Number, Word, No, ANY;
        "rcv_nxt", 100, 4, Number, Word, No, ANY;
        "snd_nxt", 104, 4, Number, Word, No, ANY;
        "snd_una", 108, 4, Number, Word, No, ANY;
        "mss_cache", 112, 4, Number, Word, No, ANY;
        "ecn_flags", 116, 4, Number, Word, No, ANY;
        "rate_delivered", 120, 4, Number, Word, No, ANY;
        "rate_interval_us", 124, 4, Number, Word, No, ANY;
        "packets_out", 128, 4, Number, Word, No, ANY;
        "retrans_out", 132, 4, Number, Word, No, ANY;
        "total_retrans", 136, 4, Number, Word, No, ANY;
        "segs_in", 140, 4, Number, Word, No, ANY;
        "data_segs_in", 144, 4, Number, Word, No, ANY;
        "segs_out", 148, 4, Number, Word, No, ANY;
        "data_segs_out", 152, 4, Number, Word, No, ANY;
        "lost_out", 156, 4, Number, Word, No, ANY;
        "sacked_out", 160, 4, Number, Word, No, ANY;
        "sk_txhash", 164, 4, Number, Word, Word, ANY;
        "bytes_received", 168, 8, Number, Double, No, ANY;
        "bytes_acked", 176, 8, Number, Double, No, ANY;
        "sk", 184, 8, FullSocketOrNull, Double, No, ANY;
        "skb_data", 192, 8, PacketStart, Double, No, ANY;
        "skb_data_end", 200, 8, PacketEnd, Double, No, ANY;
        "skb_len", 208, 4, Number, Word, No, ANY;
        "skb_tcp_flags", 212, 4, Number, NarrowAtStart, No, ANY;
        "skb_hwtstamp", 216, 8, Number, Double, No, ANY;
    Sock:
        "bound_dev_if", 0, 4, Number, Word, Word, CREATE;
        "family", 4, 4, Number, NarrowAtStart, No, ANY;
        "type", 8, 4, Number, NarrowAtStart, No, ANY;
        "protocol", 12, 4, Number, NarrowAtStart, No, ANY;
        "mark", 16, 4, Number, Word, Word, CREATE;
        "priority", 20, 4, Number, Word, Word, CREATE;
        "src_ip4", 24, 4, Number, Narrow, No, POST_BIND4;
        "src_ip6", 28, 16, Number, Narrow, No, POST_BIND6;
        "src_port", 44, 4, Number, NarrowAtStart, No, POST_BIND;
        "dst_port", 48, 4, Number, Port, No, ANY;
        "dst_ip4", 52, 4, Number, Narrow, No, ANY;
        "dst_ip6", 56, 16, Number, Narrow, No, ANY;
        "state", 72, 4, Number, NarrowAtStart, No, ANY;
        "rx_queue_mapping", 76, 4, Number, NarrowAtStart, No, ANY;
    SockAddr:
        "user_family", 0, 4, Number, Word, No, ANY;
        "user_ip4", 4, 4, Number, Narrow, Word, IP4;
        "user_ip6", 8, 16, Number, Wide, WideWord, IP6;
        "user_port", 24, 4, Number, Narrow, Word, ANY;
        "family", 28, 4, Number, Word, No, ANY;
        "type", 32, 4, Number, Word, No, ANY;
        "protocol", 36, 4, Number, Word, No, ANY;
        "msg_src_ip4", 40, 4, Number, Narrow, Word, SENDMSG4;
        "msg_src_ip6", 44, 16, Number, Wide, WideWord, SENDMSG6;
        "sk", 64, 8, FullSocket, Double, No, ANY;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_order_and_do_not_meet() {
        for pair in FIELDS.windows(2).filter(|pair| pair[0].view == pair[1].view) {
            assert!(pair[0].offset + pair[0].size <= pair[1].offset, "{} and {}", pair[0].name, pair[1].name);
        }
        let port = PlainField::at(View::Sock, 49).expect("a field");
        assert!(port.may_read(AttachType::Unsaid, 49, 1) && !port.may_read(AttachType::Unsaid, 50, 2));
    }
}
