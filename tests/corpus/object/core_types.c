/* CO-RE in its corners: matching types, arrays, bit fields, unions, 64-bit enumerations, types by
 * number. Against the built-in types most of it is absent; libbpf judges it against a kernel's. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct list_head { struct list_head *next, *prev; };
struct list_head___other { struct list_head *next; int prev; };
struct task_struct { int pid; char comm[16]; struct list_head tasks; struct task_struct *parent; int on_rq; };
struct task_struct___longer { char comm[4]; int no_such_member; };
struct in6_addr { union { unsigned char u6_addr8[16]; unsigned short u6_addr16[8]; } in6_u; };
struct ipv6hdr { unsigned char priority : 4, version : 4; struct in6_addr saddr, daddr; };
struct sk_buff { unsigned char pkt_type : 3; union { unsigned long tstamp; }; unsigned int len; unsigned char *head; };
struct net_device { char name[16]; };
struct nothing_of_the_kind { int x; };
struct bpf_array { char value[0]; };
#pragma clang attribute pop
typedef unsigned int __u32___typed;
enum bpf_map_type___mine { BPF_MAP_TYPE_HASH___mine = 99, BPF_MAP_TYPE_NEVER___mine = 98 };
enum bpf_attach_type___matches { BPF_XDP___matches };

SEC("tc") int types(struct __sk_buff *skb)
{
	bpf_printk("%d %d", bpf_core_type_exists(struct list_head), bpf_core_type_exists(struct nothing_of_the_kind));
	bpf_printk("%d %d", bpf_core_type_size(struct task_struct), bpf_core_type_size(struct list_head___other));
#if __clang_major__ >= 15
	bpf_printk("%d %d", bpf_core_type_matches(struct list_head), bpf_core_type_matches(struct list_head___other));
	bpf_printk("%d %d", bpf_core_type_matches(struct task_struct), bpf_core_type_matches(struct in6_addr));
#else /* as many texts */
	bpf_printk("%d %d", 0, 0);
	bpf_printk("%d %d", 0, 0);
#endif
	bpf_printk("%d %d", bpf_core_type_id_kernel(struct task_struct), bpf_core_type_id_local(struct task_struct));
	bpf_printk("%d %d", bpf_core_enum_value(enum bpf_map_type___mine, BPF_MAP_TYPE_HASH___mine),
		   bpf_core_enum_value_exists(enum bpf_map_type___mine, BPF_MAP_TYPE_NEVER___mine));
	return 0;
}
SEC("tc") int fields(struct __sk_buff *skb)
{
	struct task_struct *task = (void *)skb;
	struct task_struct___longer *longer = (void *)skb;
	struct ipv6hdr *ip = (void *)skb;
	struct net_device *dev = (void *)skb;
	struct sk_buff *inside = (void *)skb;
	struct bpf_array *array = (void *)skb;

	bpf_printk("%d %d", bpf_core_field_offset(task->comm[3]), bpf_core_field_size(task->comm));
	bpf_printk("%d %d", bpf_core_field_offset(task->tasks.prev), bpf_core_field_exists(longer->no_such_member));
	bpf_printk("%d %d", bpf_core_field_offset(task[2].pid), bpf_core_field_size(longer->comm));
	bpf_printk("%d %d", bpf_core_field_offset(ip->daddr.in6_u.u6_addr16[5]), bpf_core_field_offset(dev->name));
	bpf_printk("%d %d", bpf_core_field_offset(inside->tstamp), bpf_core_field_offset(inside->len));
	bpf_printk("%d", bpf_core_field_offset(array->value[7]));
	bpf_printk("%d %d", __builtin_preserve_field_info(ip->version, BPF_FIELD_BYTE_OFFSET),
		   __builtin_preserve_field_info(ip->version, BPF_FIELD_BYTE_SIZE));
	bpf_printk("%d %d", __builtin_preserve_field_info(ip->version, BPF_FIELD_LSHIFT_U64),
		   __builtin_preserve_field_info(inside->pkt_type, BPF_FIELD_RSHIFT_U64));
	bpf_printk("%d %d", __builtin_preserve_field_info(task->pid, BPF_FIELD_SIGNED),
		   __builtin_preserve_field_info(inside->pkt_type, BPF_FIELD_SIGNED));
	return BPF_CORE_READ_BITFIELD(ip, version);
}
char _license[] SEC("license") = "GPL";
//= license GPL
//= program types in tc: sched_cls, maps core_typ.rodata
//= program fields in tc: sched_cls, maps core_typ.rodata
//= map core_typ.rodata array 4 87 1 flags 0x80 frozen data
