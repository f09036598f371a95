#!/bin/sh
# What udhcpc runs on each DHCP event: gives the laptop its address, default route and resolver.
# shellcheck disable=SC2154 # udhcpc sets the variables
set -eu
case $1 in
bound)
	ip address flush dev "$interface" scope global permanent
	ip address add "$ip/$mask" broadcast + dev "$interface"
	ip route replace default via "$router" dev "$interface" metric 600
	{
		echo "# from the access point"
		for server in $dns; do echo "nameserver $server"; done
	} >/etc/resolv.conf
	;;
esac
echo "event $1"
