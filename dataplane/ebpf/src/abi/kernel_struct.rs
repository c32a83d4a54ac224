//! Structures of the kernel that helpers and kernel functions hand out pointers to. weir has none of them:
//! what answers with such a pointer always answers null here, and the program that reads behind it is still
//! proven. Sizes are those of Linux 6.18 on x86-64.

macro_rules! kernel_structs {
    ($( $(#[$doc:meta])* $name:ident = $text:literal, $bytes:literal, $socket:literal; )+) => {
        /// A structure of the kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum KernelStruct { $( $(#[$doc])* $name, )+ }

        impl KernelStruct {
            /// Every one.
            pub const ALL: &[KernelStruct] = &[$( KernelStruct::$name, )+];
            /// Its name in C, behind `struct`.
            pub const fn name(self) -> &'static str { match self { $( KernelStruct::$name => $text, )+ } }
            /// Its bytes; 0 of those that nothing of is read here, and pointers to which may be null at any time.
            pub const fn bytes(self) -> u32 { match self { $( KernelStruct::$name => $bytes, )+ } }
            /// Whether it begins with `struct sock_common`, so that it passes for a socket.
            pub const fn is_socket(self) -> bool { match self { $( KernelStruct::$name => $socket, )+ } }
        }
    };
}

kernel_structs! {
    /// A TCP socket.
    TcpSock = "tcp_sock", 2304, true;
    /// A TCP socket of IPv6.
    Tcp6Sock = "tcp6_sock", 2432, true;
    /// What is left of a TCP socket in time-wait.
    TcpTimewaitSock = "tcp_timewait_sock", 248, true;
    /// A TCP connection that is being asked for.
    TcpRequestSock = "tcp_request_sock", 312, true;
    /// A UDP socket of IPv6.
    Udp6Sock = "udp6_sock", 1472, true;
    /// A Unix socket.
    UnixSock = "unix_sock", 1152, true;
    /// A multipath TCP socket.
    MptcpSock = "mptcp_sock", 1936, true;
    /// A tracked connection.
    NfConn = "nf_conn", 248, false;
    /// A tracked connection that is not in the table yet.
    NfConnInit = "nf_conn___init", 248, false;
    /// What a kind of map can do; pointed to by a map, and not to be read.
    MapOps = "bpf_map_ops", 0, false;
    /// What a security module keeps of a map, likewise.
    Untyped = "void", 0, false;
    /// What inner maps look like, likewise.
    Map = "bpf_map", 0, false;
    /// The special fields of a map's values, likewise.
    BtfRecord = "btf_record", 0, false;
    /// The types of a map, likewise.
    Btf = "btf", 0, false;
    /// Whom a map's memory is charged to, likewise.
    ObjCgroup = "obj_cgroup", 0, false;
}
