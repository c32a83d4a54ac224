//! Why a packet is not forwarded: one table, for counters and for people.

/// Declares [`Refusal`] from rows of `Name = "name", "sentence"`.
macro_rules! refusals {
    ($( $name:ident = $text:literal, $sentence:literal; )+) => {
        /// Why a packet is not forwarded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal { $( #[doc = $sentence] $name, )+ }

        impl Refusal {
            /// Every reason.
            pub const ALL: &[Refusal] = &[$( Refusal::$name, )+];

            /// A stable name, for counters.
            pub const fn name(self) -> &'static str {
                match self { $( Refusal::$name => $text, )+ }
            }

            /// What happened, as a sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $( Refusal::$name => $sentence, )+ }
            }
        }
    };
}

refusals! {
    TooShort = "ip-too-short", "The packet ends within its network header.";
    Version = "ip-version", "The version is neither 4 nor 6.";
    HeaderLength = "ip-header-length", "The header length is below 20 or exceeds the packet.";
    TotalLength = "ip-total-length", "The total length is below the header's or exceeds the packet.";
    Checksum = "ip-checksum", "The header checksum is wrong.";
    Options = "ip-options", "An option is longer than the header, or has no length.";
    SourceRouted = "ip-source-routed", "An option asks for a way of its own.";
    MartianSource = "martian-source", "The source address cannot be a sender on a network.";
    MartianDestination = "martian-destination", "The destination address cannot be reached over a network.";
    LinkLocal = "link-local", "An address is valid on its link only.";
    HopsSpent = "hops-spent", "The time to live or hop limit is used up.";
    NoRoute = "no-route", "No route leads to the destination.";
    Blackhole = "blackhole", "The route drops in silence.";
    Unreachable = "unreachable", "The route says that the destination cannot be reached.";
    Prohibited = "prohibited", "The route forbids the destination.";
    NotForwarding = "not-forwarding", "The port it came in by does not forward.";
    NoPort = "no-such-port", "The port it came in by is not the router's.";
    Encapsulation = "encapsulation", "The way asks for encapsulation, which is not built.";
    TooBig = "too-big", "The packet is larger than the way takes, and may not be fragmented.";
    Fragmentation = "fragmentation", "The packet is larger than the way takes: it is cut, or was given no room for it.";
    NoNeighbour = "no-neighbour", "The next hop's link address is not known.";
}
