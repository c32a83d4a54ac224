/* What others define: the kernel's configuration, its symbols and its functions. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_HZ __kconfig __weak;
extern int CONFIG_NR_CPUS __kconfig;
extern const void init_task __ksym __weak;
extern const void jiffies_lock __ksym;
extern int bpf_present(void) __ksym __weak;
extern int bpf_absent(void) __ksym;

SEC("xdp") int version(struct xdp_md *ctx) { return LINUX_KERNEL_VERSION >= 0x60000 ? XDP_PASS : CONFIG_HZ; }
SEC("xdp") int weak_symbol(struct xdp_md *ctx) { return &init_task ? XDP_PASS : XDP_DROP; }
SEC("xdp") int weak_function(struct xdp_md *ctx) { return bpf_present ? bpf_present() : XDP_DROP; }
SEC("xdp") int strong_symbol(struct xdp_md *ctx) { return (unsigned long)&jiffies_lock & 1; }
SEC("xdp") int strong_function(struct xdp_md *ctx) { return bpf_absent(); }
SEC("xdp") int strong_config(struct xdp_md *ctx) { return CONFIG_NR_CPUS; }
char _license[] SEC("license") = "GPL";
//= license GPL
//= program version in xdp: xdp, maps .kconfig
//= program weak_symbol in xdp: xdp
//= program weak_function in xdp: xdp
//= program strong_symbol in xdp: section `xdp`: extern `jiffies_lock` is not defined here; weir has no kernel symbols; declare it `__weak` and test its address
//= program strong_function in xdp: section `xdp`: extern `bpf_absent` is not defined here; define it in the object, or declare it `__weak` and test its address; weir has the kernel functions bpf_dynptr_*, bpf_iter_num_* and bpf_xdp_metadata_rx_*
//= program strong_config in xdp: section `xdp`: extern `CONFIG_NR_CPUS` is not defined here; neither weir nor this machine's kernel has it; declare it `extern … __kconfig __weak`, or set it as a global
//= map .kconfig array 4 24 1 flags 0x80 frozen data [00, 12, 06, 00, 00, 00, 00, 00, fa, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00]
