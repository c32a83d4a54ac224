//! What stands below the help of commands: how one begins, and examples.

pub(crate) const WEIR: &str = "Without a daemon and without root: check, exec, inspect, replay, pcap. `weir run` is the daemon, the others ask it.
The beginning of a word is enough where it is the only one: `weir p s` is `weir prog show`.

To begin with:
  weir replay config/demo.toml       a million packets through a firewall, classes and a router
  weir check prog.bpf.o              would the verifier take it, and if not, why not
  weir doctor eth0                   would packets flow, and if not, what to do
  weir run /etc/weir/weir.toml       packets flow";

pub(crate) const CHECK: &str = "Examples:
  weir check prog.bpf.o
  weir check prog.bpf.o --prog ingress --log-level 2
  weir check huge.bpf.o --insns-max 10000000 --memory-max 4096 --time-max 600
  weir check --explain packet-past-end";

pub(crate) const EXEC: &str = "Examples:
  weir exec prog.bpf.o --hex 'ffffffffffff 020000000001 0806'
  weir exec prog.bpf.o --prog ingress --data-in packet.bin";

pub(crate) const REPLAY: &str = "Examples:
  weir replay config/demo.toml                     a configuration that makes its traffic up
  weir replay prog.bpf.o traffic.pcap -w out.pcapng
  weir replay prog.bpf.o traffic.pcap --secs 10    as fast as it goes";

pub(crate) const RUN: &str = "Examples:
  weir run --check router.toml       would it run?
  weir run router.toml
  WEIR_LOG=debug weir run router.toml";

pub(crate) const PROG: &str = "PROG is `id N`, `name N`, `tag T` or just the name.

Examples:
  weir prog show
  weir prog replace name fw with fw2.bpf.o --dry-run
  weir prog replace name fw with fw2.bpf.o
  weir prog rollback fw
  weir prog dump xlated fw";

pub(crate) const MAP: &str = "MAP is `id N`, `name N` or just the name. DATA is bytes (`hex 0a 00 ..`, or numbers from 0 to 255), an address, a
prefix, a number, or a JSON object of the struct's fields.

Examples:
  weir map dump name flows --format table
  weir map update deny4 key 203.0.113.0/24 value 0
  weir map lookup services key '{\"protocol\": 6, \"port\": 80}'
  weir map watch counts --every 1s";

pub(crate) const NET: &str = "Examples:
  weir net show
  weir net attach xdp obj fw.bpf.o dev wan prio 10
  weir net detach xdp fw dev wan";

pub(crate) const ROUTE: &str = "Examples:
  weir route get 192.0.2.9
  weir route add 203.0.113.0/24 via 198.51.100.2
  weir route del 203.0.113.0/24";

pub(crate) const STATS: &str = "Examples:
  weir stats                 where every packet and every frame went
  weir stats drops --watch 1
  weir stats wan             one interface, as ethtool -S prints it
  weir -j stats | jq .ledger";

pub(crate) const CONFIG: &str = "Examples:
  weir config diff new.toml
  weir config apply new.toml --confirm 60s    then `weir config confirm`, or it is taken back
  weir config rollback";

pub(crate) const CAPTURE: &str = "Examples:
  weir capture -i wan -w wan.pcapng tcp port 443 and host 192.0.2.1
  weir capture --verdict drop -w drops.pcapng          what programs, rings and the host drop
  weir capture --reason no-route -c 10 -w - | tshark -r -

EXPR is in tcpdump's words, see pcap-filter(7); addresses, not names. Quote what your shell would read.";

pub(crate) const TRACE: &str = "Examples:
  weir trace add -n 5 icmp and host 192.0.2.1
  weir trace show

EXPR is in tcpdump's words, see pcap-filter(7); addresses, not names. Quote what your shell would read.";
