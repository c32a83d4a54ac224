/* Section names and what they make of the programs in them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int first(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp") int second(struct xdp_md *ctx) { return XDP_DROP; }
SEC("xdp.frags") int frags(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp/named") int named(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp.frags/named") int frags_named(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp/devmap") int devmap(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp.frags/cpumap") int cpumap(struct xdp_md *ctx) { return XDP_PASS; }
SEC("?xdp") int asked_for(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int tc_plain(struct __sk_buff *skb) { return 0; }
SEC("tc/named") int tc_named(struct __sk_buff *skb) { return 0; }
SEC("tcx/ingress") int ingress(struct __sk_buff *skb) { return 0; }
SEC("tcx/egress") int egress(struct __sk_buff *skb) { return 0; }
SEC("classifier") int classifier_plain(struct __sk_buff *skb) { return 0; }
SEC("classifier/named") int classifier_named(struct __sk_buff *skb) { return 0; }
SEC("action") int action_plain(struct __sk_buff *skb) { return 0; }
SEC("socket") int socket_filter(struct __sk_buff *skb) { return 0; }
SEC("socket/named") int socket_named(struct __sk_buff *skb) { return 0; }
SEC("kprobe/tcp_connect") int probe(void *ctx) { return 0; }
SEC("lsm.s/bpf") int lsm(void *ctx) { return 0; }
__weak SEC("xdp") int weak(struct xdp_md *ctx) { return XDP_TX; }
char _license[] SEC("license") = "GPL";
//= license GPL
//= program first in xdp: xdp
//= program second in xdp: xdp
//= program weak in xdp: xdp
//= program frags in xdp.frags: xdp frags
//= program named in xdp/named: xdp
//= program frags_named in xdp.frags/named: xdp frags
//= program devmap in xdp/devmap: xdp devmap
//= program cpumap in xdp.frags/cpumap: xdp frags cpumap
//= program asked_for in xdp manual: xdp
//= program tc_plain in tc: sched_cls
//= program tc_named in tc/named: sched_cls
//= program ingress in tcx/ingress: sched_cls ingress
//= program egress in tcx/egress: sched_cls egress
//= program classifier_plain in classifier: sched_cls
//= program classifier_named in classifier/named: sched_cls
//= program action_plain in action: sched_act
//= program socket_filter in socket: socket_filter
//= program socket_named in socket/named: socket_filter
//= program probe in kprobe/tcp_connect: section `kprobe/tcp_connect`: program `probe` of section `kprobe/tcp_connect` is not supported: weir runs `xdp`, `tc`, `tcx/…`, `classifier`, `action` and `socket` sections; say the type to load it as one
//= program lsm in lsm.s/bpf: section `lsm.s/bpf`: program `lsm` of section `lsm.s/bpf` is not supported: weir runs `xdp`, `tc`, `tcx/…`, `classifier`, `action` and `socket` sections; say the type to load it as one
