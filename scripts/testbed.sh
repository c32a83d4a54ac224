#!/bin/sh
# A router's surroundings on one machine: host a, the weir box and host b, each a network namespace.
#
#	host a                         box                              host b
#	a0 192.0.2.2/24      ── wan 192.0.2.1/24   lan 198.51.100.1/24 ── b0 198.51.100.2/24
#	   2001:db8:a::2/64         2001:db8:a::1      2001:db8:b::1        2001:db8:b::2/64
#
#	testbed.sh up             builds it; nothing outside of the three namespaces is touched
#	testbed.sh a COMMAND…     runs a command on host a; likewise `box` and `b`
#	testbed.sh show           says what is there
#	testbed.sh down           takes it away, and ends what runs in it
#
# The namespaces are called weir-a, weir-box and weir-b; WEIR_TESTBED sets another prefix than `weir`.
# Needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN), iproute2 and ethtool.
set -eu

prefix=${WEIR_TESTBED:-weir}

die() {
	echo "testbed: $*" >&2
	exit 1
}

usage() {
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
	exit "$1"
}

there() { ip netns list 2>/dev/null | cut -d' ' -f1 | grep -qx "$prefix-$1"; }

in_host() { # in_host HOST COMMAND…
	name=$prefix-$1
	shift
	ip netns exec "$name" "$@"
}

# link HOST DEVICE OWN4 OWN6 PORT BOX4 BOX6: a pair between a host and the box, with addresses and routes.
link() {
	host=$1 device=$2 own4=$3 own6=$4 port=$5 box4=$6 box6=$7
	ip -n "$prefix-box" link add name "$port" type veth peer name "$device" netns "$prefix-$host"
	# Between two ends of a veth nobody computes checksums unless told to; weir sees the bytes as they are.
	in_host "$host" ethtool -K "$device" tx off >/dev/null
	in_host box sysctl -qw "net.ipv6.conf.$port.accept_dad=0"
	in_host "$host" sysctl -qw "net.ipv6.conf.$device.accept_dad=0"
	ip -n "$prefix-box" link set "$port" up
	ip -n "$prefix-$host" link set "$device" up
	ip -n "$prefix-box" address add "$box4" dev "$port"
	ip -n "$prefix-box" address add "$box6" dev "$port"
	ip -n "$prefix-$host" address add "$own4" dev "$device"
	ip -n "$prefix-$host" address add "$own6" dev "$device"
	ip -n "$prefix-$host" route add default via "${box4%/*}"
	ip -n "$prefix-$host" route add default via "${box6%/*}"
}

up() {
	[ "$(id -u)" = 0 ] || die "needs root to make network namespaces"
	for tool in ip ethtool; do
		command -v $tool >/dev/null 2>&1 || die "needs $tool: run scripts/install-tools.sh, or install it"
	done
	for host in a box b; do
		there $host && die "$prefix-$host is there already: \`$0 down\` first"
	done
	# What was built so far goes if a step fails.
	trap 'down' EXIT
	for host in a box b; do
		ip netns add "$prefix-$host" || die "no namespace can be made here"
		ip -n "$prefix-$host" link set lo up
	done
	link a a0 192.0.2.2/24 2001:db8:a::2/64 wan 192.0.2.1/24 2001:db8:a::1/64
	link b b0 198.51.100.2/24 2001:db8:b::2/64 lan 198.51.100.1/24 2001:db8:b::1/64
	trap - EXIT
	echo "host a ($prefix-a), box ($prefix-box) and host b ($prefix-b) are up; the box forwards nothing yet"
}

down() {
	for host in a box b; do
		there $host || continue
		for pid in $(ip netns pids "$prefix-$host"); do
			kill "$pid" 2>/dev/null || true
		done
		# A process that is asked to end gets a second to do so.
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			[ -n "$(ip netns pids "$prefix-$host")" ] || break
			sleep 0.1
		done
		for pid in $(ip netns pids "$prefix-$host"); do
			kill -9 "$pid" 2>/dev/null || true
		done
		ip netns delete "$prefix-$host"
	done
}

show() {
	for host in a box b; do
		if there $host; then
			echo "$prefix-$host:"
			ip -n "$prefix-$host" -brief address show up | sed 's/^/  /'
		else
			echo "$prefix-$host: not there"
		fi
	done
}

case ${1:-} in
up) up ;;
down) down ;;
show) show ;;
a | box | b)
	[ $# -gt 1 ] || usage 2
	there "$1" || die "$prefix-$1 is not there: \`$0 up\` first"
	in_host "$@"
	;;
help | -h | --help) usage 0 ;;
*) usage 2 >&2 ;;
esac
