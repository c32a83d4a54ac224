//! What programs answer: `enum xdp_action` and the `TC_ACT_*` codes.

macro_rules! verdicts {
    ($(#[$enum_doc:meta])* $kind:ident: $repr:ty; $( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal; )+) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr($repr)]
        pub enum $kind { $( $(#[$doc])* $name = $number, )+ }

        impl $kind {
            /// Every code, in table order.
            pub const ALL: &[$kind] = &[$( $kind::$name, )+];
            /// The code with this number.
            pub const fn new(number: $repr) -> Option<$kind> {
                match number { $( $number => Some($kind::$name), )+ _ => None }
            }
            /// The kernel's name for it.
            pub const fn name(self) -> &'static str { match self { $( $kind::$name => $text, )+ } }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.name()) }
        }
    };
}

verdicts! {
    /// What an XDP program answers. Any other number is treated as aborted, as in the kernel.
    XdpAction: u32;
    /// Drop, and count it as a program error.
    Aborted = 0, "XDP_ABORTED";
    /// Drop.
    Drop = 1, "XDP_DROP";
    /// On to the tc ingress chain.
    Pass = 2, "XDP_PASS";
    /// Out of the port it came in by.
    Tx = 3, "XDP_TX";
    /// To where the program's last redirect helper said.
    Redirect = 4, "XDP_REDIRECT";
}

verdicts! {
    /// What a tc action, or a classifier in direct-action mode, answers.
    TcAction: i32;
    /// The default: what the filter is configured to do, or on to the next filter.
    Unspec = -1, "TC_ACT_UNSPEC";
    /// Accept the packet; classification ends.
    Ok = 0, "TC_ACT_OK";
    /// Start classification over, up to a limit.
    Reclassify = 1, "TC_ACT_RECLASSIFY";
    /// Drop.
    Shot = 2, "TC_ACT_SHOT";
    /// On to the next action of the list.
    Pipe = 3, "TC_ACT_PIPE";
    /// Consumed by the action.
    Stolen = 4, "TC_ACT_STOLEN";
    /// Queued elsewhere by the action; consumed, as far as this chain goes.
    Queued = 5, "TC_ACT_QUEUED";
    /// Treated as queued in classifiers.
    Repeat = 6, "TC_ACT_REPEAT";
    /// To where the program's last redirect helper said.
    Redirect = 7, "TC_ACT_REDIRECT";
    /// Consumed, to be handled by the host.
    Trap = 8, "TC_ACT_TRAP";
}
