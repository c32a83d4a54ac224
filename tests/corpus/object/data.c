/* Global variables: constants, variables, zeros, statics, sections of one's own, text. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 limit = 7;
const volatile __u64 wide = 0x1122334455667788;
const volatile char name[8] = "weir";
static const volatile __u16 hidden = 0x55aa;
__u32 counter = 3;
__u64 zeros[4];
static __u32 last;
__u32 apart SEC(".data.apart") = 9;
const volatile int alone SEC(".rodata.alone") = 11;

SEC("xdp") int entry(struct xdp_md *ctx)
{
	static const char format[] = "seen %d";
	counter += limit + hidden;
	zeros[3] += wide;
	last = ctx->ingress_ifindex;
	apart += alone + name[2];
	bpf_trace_printk(format, sizeof(format), last);
	return XDP_PASS;
}
char _license[] SEC("license") = "GPL";
//= license GPL
//= program entry in xdp: xdp, maps .data.apart .rodata.alone data.bss data.data data.rodata
//= map data.rodata array 4 34 1 flags 0x80 frozen data
//= map data.data array 4 4 1 data [03, 00, 00, 00]
//= map .data.apart array 4 4 1 data [09, 00, 00, 00]
//= map .rodata.alone array 4 4 1 flags 0x80 frozen data [0b, 00, 00, 00]
//= map data.bss array 4 32 1
