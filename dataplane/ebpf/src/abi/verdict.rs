//! What programs answer: `enum xdp_action`, the `TC_ACT_*` codes and their like.

use super::program_type::ProgramType;

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

verdicts! {
    /// What programs of sockets answer (`enum sk_action`).
    SkAction: i32;
    /// Drop, or none.
    Drop = 0, "SK_DROP";
    /// On, or the socket that was assigned.
    Pass = 1, "SK_PASS";
}

verdicts! {
    /// What programs of lightweight tunnels and flow dissectors answer (`enum bpf_ret_code`).
    ReturnCode: i32;
    /// On, as if there were no program.
    Ok = 0, "BPF_OK";
    /// Drop.
    Drop = 2, "BPF_DROP";
    /// To where the program's redirect helper said.
    Redirect = 7, "BPF_REDIRECT";
    /// On, by a route that is looked up anew.
    LwtReroute = 128, "BPF_LWT_REROUTE";
    /// Dissected by the kernel's own code.
    FlowDissectorContinue = 129, "BPF_FLOW_DISSECTOR_CONTINUE";
}

impl ProgramType {
    /// The kernel's name for what a program of this type answered. `None`: the number means nothing by itself, as the
    /// length that a socket filter keeps and the yes or no of a control group's program do.
    pub fn answer_name(self, answer: i32) -> Option<&'static str> {
        match self {
            ProgramType::Xdp => XdpAction::new(answer as u32).map(XdpAction::name),
            ProgramType::SchedCls | ProgramType::SchedAct => TcAction::new(answer).map(TcAction::name),
            ProgramType::SkSkb | ProgramType::SkMsg | ProgramType::SkLookup | ProgramType::SkReuseport => {
                SkAction::new(answer).map(SkAction::name)
            }
            ProgramType::LwtIn
            | ProgramType::LwtOut
            | ProgramType::LwtXmit
            | ProgramType::LwtSeg6Local
            | ProgramType::FlowDissector => ReturnCode::new(answer).map(ReturnCode::name),
            ProgramType::SocketFilter
            | ProgramType::CgroupSkb
            | ProgramType::CgroupSock
            | ProgramType::CgroupSockAddr
            | ProgramType::SockOps => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_name_that_its_program_type_gives_it() {
        let two = |kind: ProgramType| kind.answer_name(2);
        assert_eq!(two(ProgramType::Xdp), Some("XDP_PASS"));
        assert_eq!(two(ProgramType::SchedCls), Some("TC_ACT_SHOT"));
        assert_eq!(two(ProgramType::LwtXmit), Some("BPF_DROP"));
        assert_eq!(two(ProgramType::SkSkb), None);
        assert_eq!(two(ProgramType::SocketFilter), None);
        assert_eq!(ProgramType::SchedAct.answer_name(-1), Some("TC_ACT_UNSPEC"));
        assert_eq!(ProgramType::Xdp.answer_name(-1), None);
    }
}
