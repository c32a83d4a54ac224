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
    /// Nobody to give it to.
    HostNone = "host-none", Host, "the packet is for the host, and its port has no TAP device to reach it by";
    /// The TAP device did not take it.
    HostRefused = "host-refused", Host, "the TAP device that leads to the host did not take the packet";
    /// The kernel wrote to the TAP device.
    FromHost = "from-host", Host, "the kernel sent it by the TAP device, which leads to the host only: it has the device itself";
    /// A header that is not sound.
    IpMalformed = "ip-malformed", Host, "the IP header's length, version, checksum or options are not sound";
    /// A header option that chooses the way.
    SourceRouted = "ip-source-routed", Host, "an IP option asks for a way of its own";
    /// A source that no host can have.
    MartianSource = "martian-source", Host, "the source address cannot be a sender's on a network";
    /// A destination that no network has.
    MartianDestination = "martian-destination", Host, "the destination address cannot be reached over a network";
    /// An address that is valid on its link only.
    LinkLocal = "link-local", Host, "an address is valid on its link only, and the packet would have left it";
    /// TTL or hop limit.
    HopsSpent = "hops-spent", Host, "the time to live or hop limit is used up";
    /// Nowhere to go.
    NoRoute = "no-route", Host, "no route leads to the destination";
    /// A route that drops.
    Blackhole = "blackhole", Host, "the route drops in silence";
    /// A route that refuses.
    Unreachable = "unreachable", Host, "the route says that the destination cannot be reached";
    /// A route that forbids.
    Prohibited = "prohibited", Host, "the route forbids the destination";
    /// The port does not forward.
    NotForwarding = "not-forwarding", Host, "the port it came in by does not forward";
    /// A tunnel.
    Encapsulation = "encapsulation", Host, "the way asks for encapsulation, which weir does not do";
    /// Too big, and not to be cut.
    TooBig = "too-big", Host, "the packet is larger than the way takes, and may not be fragmented";
    /// No frames for fragments.
    NoFragments = "no-frame-for-fragments", Host, "the packet was to be fragmented, and no frames were free for that";
    /// Too many wait.
    HeldTooMany = "neighbour-queue-full", Host, "too many packets wait for the next hop's link address already";
    /// The neighbour did not answer.
    NeighbourFailed = "neighbour-failed", Host, "the next hop did not say its link address while the packet waited";
    /// weir stopped meanwhile.
    HeldAtEnd = "neighbour-never", Host, "the packet still waited for the next hop's link address when weir stopped";
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

impl From<weir_router::Refusal> for Reason {
    fn from(refusal: weir_router::Refusal) -> Self {
        use weir_router::Refusal;
        match refusal {
            Refusal::TooShort
            | Refusal::Version
            | Refusal::HeaderLength
            | Refusal::TotalLength
            | Refusal::Checksum
            | Refusal::Options => Reason::IpMalformed,
            Refusal::SourceRouted => Reason::SourceRouted,
            Refusal::MartianSource => Reason::MartianSource,
            Refusal::MartianDestination => Reason::MartianDestination,
            Refusal::LinkLocal => Reason::LinkLocal,
            Refusal::HopsSpent => Reason::HopsSpent,
            Refusal::NoRoute => Reason::NoRoute,
            Refusal::Blackhole => Reason::Blackhole,
            Refusal::Unreachable => Reason::Unreachable,
            Refusal::Prohibited => Reason::Prohibited,
            Refusal::NotForwarding | Refusal::NoPort => Reason::NotForwarding,
            Refusal::Encapsulation => Reason::Encapsulation,
            Refusal::TooBig => Reason::TooBig,
            Refusal::Fragmentation => Reason::NoFragments,
            Refusal::NoNeighbour => Reason::NeighbourFailed,
        }
    }
}
