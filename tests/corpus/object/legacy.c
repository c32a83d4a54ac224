/* Maps from before BTF: a structure in the section `maps`. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_map_def { unsigned int type, key_size, value_size, max_entries, map_flags; };
struct bpf_map_def SEC("maps") counters = { BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 16, 0 };
struct bpf_map_def SEC("maps") table = { .type = BPF_MAP_TYPE_HASH, .key_size = 6, .value_size = 2, .max_entries = 100, .map_flags = BPF_F_NO_PREALLOC };
struct ____btf_map_table { unsigned short key[3]; unsigned short value; };
struct ____btf_map_table __attribute__((section(".maps.table"), used)) ____btf_map_table = {};

SEC("xdp") int entry(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&counters, &key);
	unsigned short mac[3] = {};
	if (count)
		*count += bpf_map_lookup_elem(&table, mac) ? 1 : 2;
	return XDP_PASS;
}
char _license[] SEC("license") = "GPL";
unsigned int _version SEC("version") = 0x50f00;
//= license GPL
//= program entry in xdp: xdp, maps counters table
//= map counters percpu_array 4 8 16
//= map table hash 6 2 100 flags 0x1
