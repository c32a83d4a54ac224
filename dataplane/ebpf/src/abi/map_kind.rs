//! Map kinds: number and name of each (`enum bpf_map_type`).

macro_rules! map_kinds {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $kernel:literal, $short:literal; )+) => {
        /// A kind of map that weir can create.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum MapKind { $( $(#[$doc])* $name = $number, )+ }

        impl MapKind {
            /// Every kind, by number.
            pub const ALL: &[MapKind] = &[$( MapKind::$name, )+];
            /// The kind with the kernel's number.
            pub const fn new(number: u32) -> Option<MapKind> {
                match number { $( $number => Some(MapKind::$name), )+ _ => None }
            }
            /// The kernel's constant, such as `BPF_MAP_TYPE_HASH`.
            pub const fn kernel_name(self) -> &'static str { match self { $( MapKind::$name => $kernel, )+ } }
            /// bpftool's word, such as `hash`.
            pub const fn name(self) -> &'static str { match self { $( MapKind::$name => $short, )+ } }
        }
    };
}

map_kinds! {
    /// Hash table.
    Hash = 1, "BPF_MAP_TYPE_HASH", "hash";
    /// Array of values, all present.
    Array = 2, "BPF_MAP_TYPE_ARRAY", "array";
    /// Targets of tail calls.
    ProgArray = 3, "BPF_MAP_TYPE_PROG_ARRAY", "prog_array";
    /// Where `bpf_perf_event_output` writes.
    PerfEventArray = 4, "BPF_MAP_TYPE_PERF_EVENT_ARRAY", "perf_event_array";
    /// Hash table with a value for each worker.
    PercpuHash = 5, "BPF_MAP_TYPE_PERCPU_HASH", "percpu_hash";
    /// Array with a value for each worker.
    PercpuArray = 6, "BPF_MAP_TYPE_PERCPU_ARRAY", "percpu_array";
    /// Stack traces; created, always empty here.
    StackTrace = 7, "BPF_MAP_TYPE_STACK_TRACE", "stack_trace";
    /// Cgroups; created, always empty here.
    CgroupArray = 8, "BPF_MAP_TYPE_CGROUP_ARRAY", "cgroup_array";
    /// Hash table that evicts what was least recently used.
    LruHash = 9, "BPF_MAP_TYPE_LRU_HASH", "lru_hash";
    /// The same with a value for each worker.
    LruPercpuHash = 10, "BPF_MAP_TYPE_LRU_PERCPU_HASH", "lru_percpu_hash";
    /// Longest-prefix match.
    LpmTrie = 11, "BPF_MAP_TYPE_LPM_TRIE", "lpm_trie";
    /// Array whose values are maps.
    ArrayOfMaps = 12, "BPF_MAP_TYPE_ARRAY_OF_MAPS", "array_of_maps";
    /// Hash table whose values are maps.
    HashOfMaps = 13, "BPF_MAP_TYPE_HASH_OF_MAPS", "hash_of_maps";
    /// Ports to redirect to, by index.
    Devmap = 14, "BPF_MAP_TYPE_DEVMAP", "devmap";
    /// Sockets by index; created, always empty here.
    Sockmap = 15, "BPF_MAP_TYPE_SOCKMAP", "sockmap";
    /// Workers to redirect to.
    Cpumap = 16, "BPF_MAP_TYPE_CPUMAP", "cpumap";
    /// AF_XDP sockets to redirect to.
    Xskmap = 17, "BPF_MAP_TYPE_XSKMAP", "xskmap";
    /// Sockets, by key; created, always empty here.
    Sockhash = 18, "BPF_MAP_TYPE_SOCKHASH", "sockhash";
    /// What cgroups keep for a program; created, always empty here.
    CgroupStorage = 19, "BPF_MAP_TYPE_CGROUP_STORAGE", "cgroup_storage";
    /// Sockets that listen on one port; created, always empty here.
    ReuseportSockarray = 20, "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY", "reuseport_sockarray";
    /// The same as cgroup storage with a value for each worker; created, always empty here.
    PercpuCgroupStorage = 21, "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE", "percpu_cgroup_storage";
    /// First in, first out.
    Queue = 22, "BPF_MAP_TYPE_QUEUE", "queue";
    /// Last in, first out.
    Stack = 23, "BPF_MAP_TYPE_STACK", "stack";
    /// A value for each socket; created, always empty here.
    SkStorage = 24, "BPF_MAP_TYPE_SK_STORAGE", "sk_storage";
    /// Ports to redirect to, by any number.
    DevmapHash = 25, "BPF_MAP_TYPE_DEVMAP_HASH", "devmap_hash";
    /// Records to user space, in order.
    Ringbuf = 27, "BPF_MAP_TYPE_RINGBUF", "ringbuf";
    /// Set membership, perhaps.
    BloomFilter = 30, "BPF_MAP_TYPE_BLOOM_FILTER", "bloom_filter";
}

impl MapKind {
    /// Whether each worker has a value of its own.
    ///
    /// The storage of cgroups does not count: nobody here has any.
    pub const fn is_percpu(self) -> bool {
        matches!(self, MapKind::PercpuHash | MapKind::PercpuArray | MapKind::LruPercpuHash)
    }

    /// Whether what it holds are sockets, so that a program puts them in and gets them out as such.
    pub const fn holds_sockets(self) -> bool {
        matches!(self, MapKind::Sockmap | MapKind::Sockhash)
    }
}

/// Map creation flags (`BPF_F_*` of `map_flags`).
pub mod create_flags {
    #![allow(missing_docs, reason = "kernel names")]
    pub const NO_PREALLOC: u32 = 1 << 0;
    pub const NO_COMMON_LRU: u32 = 1 << 1;
    pub const NUMA_NODE: u32 = 1 << 2;
    pub const RDONLY: u32 = 1 << 3;
    pub const WRONLY: u32 = 1 << 4;
    pub const STACK_BUILD_ID: u32 = 1 << 5;
    pub const ZERO_SEED: u32 = 1 << 6;
    pub const RDONLY_PROG: u32 = 1 << 7;
    pub const WRONLY_PROG: u32 = 1 << 8;
    pub const CLONE: u32 = 1 << 9;
    pub const MMAPABLE: u32 = 1 << 10;
    pub const INNER_MAP: u32 = 1 << 12;
}

/// Flags of `bpf_map_update_elem`.
pub mod update_flags {
    #![allow(missing_docs, reason = "kernel names")]
    pub const ANY: u64 = 0;
    pub const NOEXIST: u64 = 1;
    pub const EXIST: u64 = 2;
    pub const LOCK: u64 = 4;
}
