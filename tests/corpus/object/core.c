/* CO-RE: fields that moved, fields that are not there, types, enumerations. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* Members in another order, and fewer than there are. */
struct iphdr { __u8 protocol; __u32 daddr; };
struct iphdr___none { __u32 flavoured; };
struct xdp_md___mine { __u32 rx_queue_index; };
struct tcphdr { __u16 window, syn : 1, doff : 4; };
struct sk_buff { void *head; int users; };
#pragma clang attribute pop
enum xdp_action___some { XDP_TX___some = 77, XDP_NEVER___some = 78 };

SEC("xdp") int moved(struct xdp_md *ctx)
{
	struct xdp_md___mine *mine = (void *)ctx;
	return mine->rx_queue_index;
}
SEC("tc") int offsets(struct __sk_buff *skb)
{
	struct iphdr *ip = 0;
	struct iphdr___none *none = 0;
	struct tcphdr *tcp = 0;
	bpf_printk("%d %d", bpf_core_field_offset(ip->protocol), bpf_core_field_offset(ip->daddr));
	bpf_printk("%d %d", bpf_core_field_exists(ip->daddr), bpf_core_field_exists(none->flavoured));
	bpf_printk("%d %d", bpf_core_field_size(tcp->window), bpf_core_type_size(struct iphdr));
	bpf_printk("%d %d", bpf_core_type_exists(struct tcphdr), bpf_core_type_exists(struct sk_buff));
	bpf_printk("%d %d", bpf_core_enum_value(enum xdp_action___some, XDP_TX___some),
		   bpf_core_enum_value_exists(enum xdp_action___some, XDP_NEVER___some));
	bpf_printk("%d", __builtin_preserve_field_info(tcp->doff, BPF_FIELD_LSHIFT_U64));
	bpf_printk("%d", __builtin_preserve_field_info(tcp->doff, BPF_FIELD_RSHIFT_U64));
	return 0;
}
SEC("tc") int foreign(struct __sk_buff *skb)
{
	struct sk_buff *inside = (void *)skb;
	return bpf_core_field_exists(inside->users) ? inside->users : 5;
}
char _license[] SEC("license") = "GPL";
//= license GPL
//= program moved in xdp: xdp
//= program offsets in tc: sched_cls, maps core.rodata
//= program foreign in tc: sched_cls
//= map core.rodata array 4 36 1 flags 0x80 frozen data
