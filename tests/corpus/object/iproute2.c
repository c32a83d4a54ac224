/* iproute2's maps, and the sections by which it fills prog arrays. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_elf_map { __u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx; };
struct bpf_elf_map SEC("maps") jumps = { .type = BPF_MAP_TYPE_PROG_ARRAY, .id = 2, .size_key = 4, .size_value = 4, .max_elem = 8, .inner_idx = -1 };
struct bpf_elf_map SEC("maps") global = { .type = BPF_MAP_TYPE_HASH, .size_key = 4, .size_value = 8, .max_elem = 8, .pinning = 2, .inner_idx = -1 };
struct bpf_elf_map SEC("maps") inner = { .type = BPF_MAP_TYPE_ARRAY, .id = 42, .size_key = 4, .size_value = 4, .max_elem = 1, .inner_idx = 3 };
struct bpf_elf_map SEC("maps") outer = { .type = BPF_MAP_TYPE_ARRAY_OF_MAPS, .size_key = 4, .size_value = 4, .inner_id = 42, .max_elem = 5, .inner_idx = -1 };

SEC("2/7") int seventh(struct __sk_buff *skb) { return 2; }
SEC("classifier") int entry(struct __sk_buff *skb)
{
	__u32 key = 3;
	if (bpf_map_lookup_elem(&global, &key) && bpf_map_lookup_elem(&outer, &key))
		bpf_tail_call(skb, &jumps, 7);
	return bpf_map_lookup_elem(&inner, &key) != 0;
}
char _license[] SEC("license") = "GPL";
//= license GPL
//= program seventh in 2/7: sched_cls
//= program entry in classifier: sched_cls, maps global inner jumps outer
//= map jumps prog_array 4 4 8 [(7, "seventh")]
//= map global hash 4 8 8 pinned
//= map inner array 4 4 1
//= map outer array_of_maps 4 4 5 [(3, "inner")] of (map inner array 4 4 1)
