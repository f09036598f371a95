#!/bin/sh
# What udhcpc runs on each DHCP event: gives the laptop its address, its routes and its resolver.
# shellcheck disable=SC2154 # udhcpc sets the variables
set -eu
event=$1
case $event in
bound)
	ip address flush dev "$interface" scope global permanent
	ip address add "$ip/$mask" broadcast + dev "$interface"
	ip route replace default via "$router" dev "$interface" metric 600
	# option 121: a network and the way to it, pair by pair
	# shellcheck disable=SC2086 # words
	set -- ${staticroutes:-}
	while [ $# -ge 2 ]; do
		ip route replace "$1" via "$2" dev "$interface"
		shift 2
	done
	{
		echo "# from the access point"
		for server in $dns; do echo "nameserver $server"; done
	} >/etc/resolv.conf
	;;
esac
echo "event $event"
