/* Open-coded loops: bpf_for and bpf_repeat, and the iterator beneath them.
 *
 * `bad_*` programs are refused, by weir with the rule that the line above names, and by the kernel.
 */
#include "packet.h"
#include "loops.h"

extern int kernel_has_no_such_function(int) __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} sums SEC(".maps");

int table[8];
__u32 seen;

/* Sums the bytes of the packet, as many as there are. */
SEC("xdp")
int sum_bytes(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 sum = 0;
	int i;

	bpf_for(i, 0, 100) {
		if (data + i + 1 > end)
			break;
		sum += data[i];
	}
	return sum & 0xff;
}

/* Each turn finds its place in a table and in a map. */
SEC("tc")
int index_table(struct __sk_buff *skb)
{
	int i, total = 0;

	bpf_for(i, 0, 8) {
		__u32 key = i;
		__u64 *value = bpf_map_lookup_elem(&sums, &key);

		if (!value)
			break;
		__sync_fetch_and_add(value, i + 1);
		if (i >= 0 && i < 8)
			table[i] += i;
		total += i;
	}
	return total;
}

/* A loop in a loop, with what the inner one counts carried on. */
SEC("xdp")
int nested(struct xdp_md *ctx)
{
	int i, j, turns = 0;

	bpf_for(i, 0, 10) {
		bpf_for(j, i, 10) {
			if (j == 7)
				continue;
			turns++;
		}
	}
	return turns;
}

/* More turns than a verifier would unroll. */
SEC("xdp")
int many_turns(struct xdp_md *ctx)
{
	__u64 x = 1;

	bpf_repeat(100000)
		x = x * 6364136223846793005ull + 1442695040888963407ull;
	return (__u32)(x >> 33);
}

static __noinline int count_down(struct bpf_iter_num *it)
{
	int *number = bpf_iter_num_next(it);

	return number ? *number : -1;
}

/* The iterator lives in the caller's frame. */
SEC("xdp")
int across_frames(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int found, last = 0;

	bpf_iter_num_new(&it, -3, 4);
	while ((found = count_down(&it)) >= 0 || found < -1)
		last += found + 100;
	bpf_iter_num_destroy(&it);
	return last;
}

/* Bounds that make no sense end at once; the iterator is ended all the same. */
SEC("xdp")
int senseless(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int errors = 0;

	errors += bpf_iter_num_new(&it, 10, 1) == -22;
	errors += 2 * !bpf_iter_num_next(&it);
	bpf_iter_num_destroy(&it);
	errors += 4 * (bpf_iter_num_new(&it, 0, 1 << 24) == -7);
	errors += 8 * !bpf_iter_num_next(&it);
	bpf_iter_num_destroy(&it);
	return errors;
}

/* A kernel function that is not there is not called. */
SEC("xdp")
int weak_function(struct xdp_md *ctx)
{
	if (bpf_ksym_exists(kernel_has_no_such_function))
		return kernel_has_no_such_function(1);
	if (bpf_ksym_exists(bpf_iter_num_new))
		return 7;
	return 8;
}

/* Words with a cursor that every turn may move: more than the kernel's verifier can follow.
 */
/* options: weir alone */
SEC("tc")
int options(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 at = 14, found = 0;
	int i;

	bpf_for(i, 0, 40) {
		__u8 *option = data + (at & 0xff);

		if ((void *)(option + 2) > end)
			break;
		if (option[0] == 0)
			at += 1;
		else
			at += (option[1] & 7) + 1;
		found++;
	}
	return found;
}

/* can_loop: the run's own budget ends it. */
SEC("xdp")
int budget(struct xdp_md *ctx)
{
	__u32 i, sum = 0;

	for (i = 0; i < 50 && can_loop; i++)
		sum += i * i;
	seen = i;
	return sum & 0xffff;
}

/* bad_leak: unreleased-reference */
SEC("xdp")
int bad_leak(struct xdp_md *ctx)
{
	struct bpf_iter_num it;

	bpf_iter_num_new(&it, 0, 3);
	bpf_iter_num_next(&it);
	return 0;
}

/* bad_not_begun: iterator */
SEC("xdp")
int bad_not_begun(struct xdp_md *ctx)
{
	struct bpf_iter_num it = {};

	bpf_iter_num_next(&it);
	return 0;
}

/* bad_begun_twice: iterator */
SEC("xdp")
int bad_begun_twice(struct xdp_md *ctx)
{
	struct bpf_iter_num it;

	bpf_iter_num_new(&it, 0, 3);
	bpf_iter_num_new(&it, 0, 3);
	bpf_iter_num_destroy(&it);
	return 0;
}

/* bad_ended_twice: iterator */
SEC("xdp")
int bad_ended_twice(struct xdp_md *ctx)
{
	struct bpf_iter_num it;

	bpf_iter_num_new(&it, 0, 3);
	bpf_iter_num_destroy(&it);
	bpf_iter_num_destroy(&it);
	return 0;
}

/* bad_null_number: not-a-pointer */
SEC("xdp")
int bad_null_number(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int *number, found = 0;

	bpf_iter_num_new(&it, 0, 3);
	number = bpf_iter_num_next(&it);
	found = *number;
	bpf_iter_num_destroy(&it);
	return found;
}

/* bad_number_after_end: not-a-pointer */
SEC("xdp")
int bad_number_after_end(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int *number, found = 0;

	bpf_iter_num_new(&it, 0, 3);
	number = bpf_iter_num_next(&it);
	bpf_iter_num_destroy(&it);
	if (number)
		found = *number;
	return found;
}

/* bad_number_written: read-only-memory */
SEC("xdp")
int bad_number_written(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	int *number;

	bpf_iter_num_new(&it, 0, 3);
	number = bpf_iter_num_next(&it);
	if (number)
		*number = 1;
	bpf_iter_num_destroy(&it);
	return 0;
}

/* bad_iterator_read: stack-bounds */
SEC("xdp")
int bad_iterator_read(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	__u64 raw;

	bpf_iter_num_new(&it, 0, 3);
	raw = *(volatile __u64 *)&it;
	bpf_iter_num_destroy(&it);
	return raw;
}

/* bad_index: packet-past-end */
SEC("xdp")
int bad_index(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 sum = 0;
	int i;

	bpf_for(i, 0, 100) {
		if (data + i > end)
			break;
		sum += data[i];
	}
	return sum;
}

/* Each turn of the outer loop begins the iterator anew: it need not end. */
/* bad_begun_each_turn: too-large, which the kernel accepts */
SEC("xdp")
int bad_begun_each_turn(struct xdp_md *ctx)
{
	struct bpf_iter_num it;

	bpf_iter_num_new(&it, 0, 10);
	while (bpf_iter_num_next(&it)) {
		bpf_iter_num_destroy(&it);
		bpf_iter_num_new(&it, 0, 10);
	}
	bpf_iter_num_destroy(&it);
	return 0;
}

/* bad_drained_forever: infinite-loop */
SEC("xdp")
int bad_drained_forever(struct xdp_md *ctx)
{
	struct bpf_iter_num it;

	bpf_iter_num_new(&it, 0, 10);
	for (;;)
		if (bpf_iter_num_next(&it))
			break;
	bpf_iter_num_destroy(&it);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
