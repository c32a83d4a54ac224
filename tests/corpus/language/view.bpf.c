/* Dynptrs that are given to functions which are proven alone, and what ports know beside a packet.
 */
#include "packet.h"

extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u32 offset, void *buffer, __u32 size) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *ptr) __ksym;
extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, __u64 *timestamp) __ksym;

/* Two bytes of a view, or nothing. */
__noinline int pair_at(const struct bpf_dynptr *view, __u32 offset)
{
	__u8 buffer[2], *bytes = bpf_dynptr_slice(view, offset, buffer, sizeof(buffer));

	return bytes ? bytes[0] << 8 | bytes[1] : -1;
}

/* What its function reads of the packet, up to its end. */
SEC("xdp")
int through_a_view(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;

	if (bpf_dynptr_from_xdp(ctx, 0, &packet))
		return 1;
	return pair_at(&packet, 12) ^ pair_at(&packet, bpf_dynptr_size(&packet) - 1);
}

/* The kernel has it for programs that are bound to a device. */
/* received_at: weir alone */
SEC("xdp")
int received_at(struct xdp_md *ctx)
{
	__u64 at = 7;
	int error = bpf_xdp_metadata_rx_timestamp(ctx, &at);

	return error ? -error : at;
}

/* bad_no_view: dynptr */
SEC("xdp")
int bad_no_view(struct xdp_md *ctx)
{
	struct bpf_dynptr packet = {};

	return pair_at(&packet, 0);
}

char LICENSE[] SEC("license") = "GPL";
