/* What a map says of itself: the head of its structure, read through its pointer.
 *
 * `bad_*` programs are refused.
 */
#include "packet.h"

#define __local __attribute__((preserve_access_index))

/* As in the kernel's own tests of this: the members that are wanted, wherever they lie. */
struct bpf_map_ops___any {
} __local;

struct bpf_map {
	struct bpf_map_ops___any *ops;
	__u32 map_type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
	__u32 id;
	char name[16];
} __local;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 12);
	__type(key, __u32);
	__type(value, __u64[5]);
} sums SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u16);
} flows SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} small SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps");

#define OF(map) ((struct bpf_map *)&(map))

SEC("xdp")
int sizes(struct xdp_md *ctx)
{
	struct bpf_map *sum = OF(sums), *flow = OF(flows);

	return sum->max_entries * 1000000 + flow->max_entries * 10000 + sum->value_size * 100 +
	       flow->key_size * 10 + flow->value_size;
}

SEC("xdp")
int kinds(struct xdp_md *ctx)
{
	return OF(flows)->map_type << 24 | OF(outer)->map_type << 16 | OF(sums)->map_type << 8 |
	       OF(flows)->map_flags;
}

/* One instruction, two maps. */
SEC("tc")
int either(struct __sk_buff *ctx)
{
	struct bpf_map *map = ctx->len > 62 ? OF(flows) : OF(sums);

	asm volatile("" : "+r"(map));
	return map->max_entries + map->key_size;
}

/* Parts of members. */
SEC("tc")
int parts(struct __sk_buff *ctx)
{
	struct bpf_map *map = OF(flows);

	return map->name[15] << 24 | *(volatile __u8 *)&map->max_entries << 16 | *(volatile __u16 *)&map->map_flags;
}

/* An index that the map's own size bounds is the program's business: the verifier knows nothing of it. */
SEC("tc")
int last(struct __sk_buff *ctx)
{
	__u32 key = OF(sums)->max_entries - 1;
	__u64 *sum = bpf_map_lookup_elem(&sums, &key);

	if (!sum)
		return -1;
	*sum += ctx->len;
	return *sum;
}

/* What points into the kernel may be held, and is not followed. */
SEC("tc")
int held(struct __sk_buff *ctx)
{
	struct bpf_map_ops___any *ops = OF(sums)->ops;

	asm volatile("" : : "r"(ops));
	return OF(sums)->id != 0;
}

/* bad_write: read-only-memory */
SEC("tc")
int bad_write(struct __sk_buff *ctx)
{
	OF(sums)->max_entries = 1000;
	return 0;
}

/* bad_part_of_pointer: memory-bounds */
SEC("tc")
int bad_part_of_pointer(struct __sk_buff *ctx)
{
	return *(volatile __u32 *)&OF(sums)->ops;
}

char LICENSE[] SEC("license") = "GPL";
