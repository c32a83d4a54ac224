//! Why packets are dropped: the closed list. There is no reason called "other".

/// Where on its way a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Before it was a frame.
    Receive,
    /// In the XDP chain.
    Xdp,
    /// In the tc ingress chain.
    Ingress,
    /// Where it is decided which way it leaves.
    Forward,
    /// In the tc egress chain.
    Egress,
    /// On its way to the host.
    Host,
    /// At the port that was to send it.
    Transmit,
}

impl Stage {
    /// The word that counters and tables use.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Xdp => "xdp",
            Stage::Ingress => "ingress",
            Stage::Forward => "forward",
            Stage::Egress => "egress",
            Stage::Host => "host",
            Stage::Transmit => "transmit",
        }
    }
}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident = $text:literal, $stage:ident, $sentence:literal; )+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Reason { $( $(#[$doc])* $name, )+ }

        impl Reason {
            /// Every reason, in table order.
            pub const ALL: &[Reason] = &[$( Reason::$name, )+];
            /// The name that counters, tables and captures use.
            pub const fn name(self) -> &'static str { match self { $( Reason::$name => $text, )+ } }
            /// Where on its way the packet was.
            pub const fn stage(self) -> Stage { match self { $( Reason::$name => Stage::$stage, )+ } }
            /// What it means, for people.
            pub const fn sentence(self) -> &'static str { match self { $( Reason::$name => $sentence, )+ } }
        }
    };
}

reasons! {
    /// `XDP_DROP`.
    XdpDrop = "xdp-drop", Xdp, "an XDP program answered XDP_DROP";
    /// `XDP_ABORTED`.
    XdpAborted = "xdp-aborted", Xdp, "an XDP program answered XDP_ABORTED";
    /// No XDP action has that number.
    XdpInvalid = "xdp-invalid-verdict", Xdp, "an XDP program answered a number that is no verdict";
    /// `TC_ACT_SHOT` at ingress.
    TcIngressShot = "tc-ingress-shot", Ingress, "a filter or action of a tc ingress chain answered TC_ACT_SHOT";
    /// `TC_ACT_SHOT` at egress.
    TcEgressShot = "tc-egress-shot", Egress, "a filter or action of a tc egress chain answered TC_ACT_SHOT";
    /// Too many `TC_ACT_RECLASSIFY`.
    ReclassifyLoop = "tc-reclassify-loop", Ingress, "classification was started over more than 16 times";
    /// No four bytes were left for the VLAN tag beside it.
    NoRoomForTag = "no-room-for-tag", Ingress, "a tc program left no headroom in the buffer for the packet's VLAN tag";
    /// The forwarding program dropped it.
    ForwardDrop = "forward-drop", Forward, "the forwarding program answered a drop";
    /// The forwarding program aborted.
    ForwardAborted = "forward-aborted", Forward, "the forwarding program answered XDP_ABORTED or no verdict at all";
    /// A redirect named a port that is not there.
    RedirectNoPort = "redirect-no-port", Forward, "a redirect named a port, map entry or worker that is not there";
    /// A map entry's program said no.
    MapProgramDrop = "redirect-program-drop", Forward, "the program of a device or CPU map's entry did not answer XDP_PASS";
    /// To all ports of a device map.
    RedirectBroadcast = "redirect-broadcast", Forward, "a redirect asked for a broadcast, which weir does not do yet";
    /// A redirect without a redirect helper before it.
    RedirectUnset = "redirect-unset", Forward, "a program answered a redirect but had called no redirect helper";
    /// Redirected too often.
    RedirectLoop = "redirect-loop", Forward, "the packet was redirected more than 8 times";
    /// No link address for the next hop.
    NoNeighbour = "no-neighbour", Forward, "a redirect asked for the neighbour's address, which is not known";
    /// The packet left its buffer too long for the port.
    TxTooLong = "tx-too-long", Transmit, "the packet is longer than the port takes";
    /// The transmit ring is full.
    TxRingFull = "tx-ring-full", Transmit, "the port's transmit ring, or the peer's queue, is full";
    /// The port is down.
    TxDown = "tx-port-down", Transmit, "the port is down, or its other end has gone";
    /// Writing failed.
    TxFailed = "tx-write-failed", Transmit, "writing to the port failed";
    /// No frame to receive into.
    RxNoFrame = "rx-no-frame", Receive, "a packet came, but no frame was free for it or it fits in none";
}

impl From<weir_io::Refusal> for Reason {
    fn from(refusal: weir_io::Refusal) -> Self {
        match refusal {
            weir_io::Refusal::RingFull => Reason::TxRingFull,
            weir_io::Refusal::TooLong => Reason::TxTooLong,
            weir_io::Refusal::Down => Reason::TxDown,
            weir_io::Refusal::Failed => Reason::TxFailed,
        }
    }
}
