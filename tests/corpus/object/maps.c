/* Maps defined by BTF: every way of saying every property. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct flow { __u32 saddr, daddr; __u16 sport, dport; };
struct state { __u64 packets; struct bpf_spin_lock lock; struct { struct bpf_timer timer; } nested; };
enum size { ENTRIES = 128 };

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, ENTRIES); __type(key, struct flow); __type(value, struct state); } flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __uint(key_size, 4); __uint(value_size, 12); } sized SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 9); __uint(key_size, 8); __type(value, __u64); __uint(map_flags, BPF_F_NO_PREALLOC); } routes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1000); __type(key, int); __type(value, char[3]); __uint(pinning, LIBBPF_PIN_BY_NAME); } shared SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 5000); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 2); __type(key, __u32); __type(value, struct bpf_devmap_val); } ports SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 7); __type(value, __u32); __uint(map_extra, 3); } bloom SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, int); } sockets SEC(".maps");

struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, long); };
struct inner one SEC(".maps"), two SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 4); __type(key, int); __array(values, struct inner); }
	outer SEC(".maps") = { .values = { [1] = &two, [3] = &one } };
struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 4); __type(key, int);
	__array(values, struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, int); }); }
	outer_hash SEC(".maps");

int tail(struct xdp_md *ctx);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 8); __uint(key_size, 4); __array(values, int(void *)); }
	jumps SEC(".maps") = { .values = { [5] = (void *)&tail } };

SEC("xdp") int tail(struct xdp_md *ctx) { return XDP_DROP; }
SEC("xdp") int entry(struct xdp_md *ctx)
{
	struct flow key = {};
	struct state *state = bpf_map_lookup_elem(&flows, &key);
	if (state)
		state->packets++;
	bpf_tail_call(ctx, &jumps, 5);
	return XDP_PASS;
}
SEC("tc") int storage(struct __sk_buff *skb)
{
	bpf_sk_storage_get(&sockets, skb->sk, 0, 0);
	return 0;
}
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, 1); __type(key, int); __type(value, int); }
	tasks SEC(".maps");
SEC("tc") int task(struct __sk_buff *skb)
{
	bpf_task_storage_get(&tasks, 0, 0, 0);
	return 0;
}
char _license[] SEC("license") = "Dual MIT/GPL";
//= license Dual MIT/GPL
//= program tail in xdp: xdp
//= program entry in xdp: xdp, maps flows jumps
//= program storage in tc: sched_cls, maps sockets
//= program task in tc: section `.maps`: map `tasks` of kind task_storage (29) is not supported: a program that does not use the map can still be had
//= map two array 4 8 1
//= map one array 4 8 1
//= map outer array_of_maps 4 4 4 [(1, "two"), (3, "one")] of (map outer.inner array 4 8 1)
//= map jumps prog_array 4 4 8 [(5, "tail")]
//= map flows hash 12 32 128 SpinLock { offset: 8 } Timer { offset: 16 }
//= map sockets sk_storage 4 4 0 flags 0x1
//= map sized array 4 12 4
//= map routes lpm_trie 8 8 9 flags 0x1
//= map shared lru_hash 4 3 1000 pinned
//= map events ringbuf 0 0 8192
//= map perf perf_event_array 4 4 0
//= map ports devmap 4 8 2
//= map bloom bloom_filter 0 4 7 extra 3
//= map outer_hash hash_of_maps 4 4 4 of (map outer_hash.inner hash 4 4 8)
//= map tasks: section `.maps`: map `tasks` of kind task_storage (29) is not supported: a program that does not use the map can still be had
