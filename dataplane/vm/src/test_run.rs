//! Running a program on one packet and looking at what comes out, like `BPF_PROG_TEST_RUN`.
//!
//! The kernel's conventions hold (net/bpf/test_run.c, 6.18): XDP has 256 bytes of headroom and a page for
//! all; a tc program sees the link header, a socket filter does not; packets are at least an Ethernet
//! header long, and a byte more for an skb; repeated runs go on with what the last one left. Differences:
//! * an skb may grow by [`SKB_ROOM`] on either side, where the kernel allocates as needed;
//! * there is no socket (`skb->sk` is null);
//! * ports and clocks are the caller's [`Env`](crate::Env).

use std::time::{Duration, Instant};

use thiserror::Error;
use weir_ebpf::ProgramType;

use crate::context::{Context, ETHERNET_BYTES, META_BYTES_MAX};
use crate::run::{Redirect, Run};

/// Bytes before an XDP packet (`XDP_PACKET_HEADROOM`).
pub const XDP_HEADROOM: usize = 256;
/// Bytes of a page less `skb_shared_info`: how far an XDP packet with its headroom may reach.
const XDP_ROOM: usize = 4096 - 320;
/// Bytes before and behind an skb.
pub const SKB_ROOM: usize = 16 * 1024;
/// Index of the loopback port, where packets are unless someone says otherwise.
const LOOPBACK: u32 = 1;

/// A packet, and what its context says. The fields are those that the kernel takes in `ctx_in`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The packet from the link layer on.
    pub packet: Vec<u8>,
    /// Metadata before it, XDP and tc.
    pub meta: Vec<u8>,
    /// The other fields.
    pub fields: Fields,
    /// How often to run; 0 is once.
    pub repeat: u32,
}

/// What programs are given, or leave, in their context.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's names")]
pub struct Fields {
    pub ingress_ifindex: u32,
    pub rx_queue_index: u32,
    pub ifindex: u32,
    pub mark: u32,
    pub priority: u32,
    pub cb: [u32; 5],
    pub tstamp: u64,
    /// 0: as long as the packet.
    pub wire_len: u32,
    pub gso_segs: u32,
    pub gso_size: u32,
    /// Only read back.
    pub tc_index: u32,
    /// Only read back.
    pub tc_classid: u32,
    /// Only read back.
    pub queue_mapping: u32,
    /// Only read back: control information and EtherType (host order) of a tag beside the packet.
    pub vlan: Option<(u16, u16)>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The program's answer (the low half of r0).
    pub retval: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// The metadata afterwards.
    pub meta: Vec<u8>,
    /// The context afterwards.
    pub fields: Fields,
    /// Where the packet shall go, if the answer says so.
    pub redirect: Option<Redirect>,
    /// Time of one run, on average.
    pub duration: Duration,
}

/// Why there was no run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InputError {
    /// Shorter than an Ethernet header, or with nothing behind it for a program on skbs.
    #[error("the packet has {len} bytes; {program} programs are tested with at least {min}")]
    Short {
        /// Bytes given.
        len: usize,
        /// Bytes wanted.
        min: usize,
        /// The program's type.
        program: ProgramType,
    },
    /// Longer than the room there is.
    #[error("the packet has {len} bytes; {program} programs are tested with at most {max}")]
    Long {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
        /// The program's type.
        program: ProgramType,
    },
    /// Not a multiple of 4, or too long.
    #[error("the metadata has {len} bytes; wanted a multiple of 4 up to 252")]
    Meta {
        /// Bytes given.
        len: usize,
    },
}

impl Input {
    /// A packet at the loopback port.
    pub fn new(packet: &[u8]) -> Self {
        let fields = Fields {
            ingress_ifindex: LOOPBACK,
            rx_queue_index: 0,
            ifindex: LOOPBACK,
            mark: 0,
            priority: 0,
            cb: [0; 5],
            tstamp: 0,
            wire_len: 0,
            gso_segs: 0,
            gso_size: 0,
            tc_index: 0,
            tc_classid: 0,
            queue_mapping: 0,
            vlan: None,
        };
        Self { packet: packet.to_vec(), meta: Vec::new(), fields, repeat: 1 }
    }

    fn check(&self, program: ProgramType) -> Result<(), InputError> {
        let (len, meta) = (self.packet.len(), self.meta.len());
        let min = if program == ProgramType::Xdp { ETHERNET_BYTES } else { ETHERNET_BYTES + 1 };
        if len < min {
            return Err(InputError::Short { len, min, program });
        }
        let max = if program == ProgramType::Xdp { XDP_ROOM - XDP_HEADROOM } else { SKB_ROOM };
        if len > max {
            return Err(InputError::Long { len, max, program });
        }
        if !meta.is_multiple_of(4) || meta > META_BYTES_MAX {
            Err(InputError::Meta { len: meta })
        } else {
            Ok(())
        }
    }
}

/// Runs a program of this type on a packet; `judge` is one run of it, such as
/// `|run, context| loaded.run(run, context)`.
pub fn test_run(
    program: ProgramType,
    input: &Input,
    run: &mut Run<'_>,
    mut judge: impl FnMut(&mut Run<'_>, &mut Context<'_>) -> u64,
) -> Result<Output, InputError> {
    input.check(program)?;
    let (headroom, size) = match program {
        ProgramType::Xdp => (XDP_HEADROOM, XDP_ROOM),
        _ => (SKB_ROOM, SKB_ROOM + input.packet.len() + SKB_ROOM),
    };
    let mut room = vec![0; size];
    room[headroom - input.meta.len()..headroom].copy_from_slice(&input.meta);
    room[headroom..headroom + input.packet.len()].copy_from_slice(&input.packet);
    let mut context = Context::new(&mut room, headroom..headroom + input.packet.len());
    context.place(headroom - input.meta.len(), headroom..headroom + input.packet.len());
    input.fields.enter(program, &mut context);

    let repeat = input.repeat.max(1);
    let start = Instant::now();
    let mut retval = 0;
    for _ in 0..repeat {
        retval = judge(run, &mut context) as u32;
    }
    let duration = start.elapsed() / repeat;
    let mut packet = context.packet().to_vec();
    if !program.sees_link_layer() {
        packet.splice(0..0, [0; ETHERNET_BYTES]);
    }
    let (meta, fields) = (context.meta().to_vec(), Fields::leave(&context));
    Ok(Output { retval, packet, meta, fields, redirect: run.redirect(), duration })
}

impl Fields {
    fn enter(&self, program: ProgramType, context: &mut Context<'_>) {
        context.ingress_ifindex = self.ingress_ifindex;
        context.rx_queue_index = self.rx_queue_index;
        context.ifindex = self.ifindex;
        if program == ProgramType::Xdp {
            return;
        }
        context.enter_tc(true);
        // The loopback port's addresses are zeros, the one for broadcasts too.
        context.read_packet_type([0; 6], [0; 6]);
        context.mark = self.mark;
        context.priority = self.priority;
        context.cb = self.cb;
        context.tstamp = self.tstamp;
        context.gso_segs = self.gso_segs;
        context.gso_size = self.gso_size;
        if self.wire_len != 0 {
            context.wire_len = self.wire_len;
        }
        if !program.sees_link_layer() {
            context.enter_socket();
        }
    }

    fn leave(context: &Context<'_>) -> Self {
        Self {
            ingress_ifindex: context.ingress_ifindex,
            rx_queue_index: context.rx_queue_index,
            ifindex: context.ifindex,
            mark: context.mark,
            priority: context.priority,
            cb: context.cb,
            tstamp: context.tstamp,
            wire_len: context.wire_len,
            gso_segs: context.gso_segs,
            gso_size: context.gso_size,
            tc_index: context.tc_index,
            tc_classid: context.tc_classid,
            queue_mapping: context.queue_mapping,
            vlan: context.vlan_tag().map(|(proto, tci)| (tci, proto)),
        }
    }
}
