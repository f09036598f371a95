"""Who is where. Documentation and private addresses only (RFC 5737, RFC 3849, RFC 1918, RFC 4193)."""

LINK = "wlo1"
LAPTOP_MAC = "02:00:00:00:43:10"

AP = "192.168.43.1"
AP_PREFIX = "192.168.43.0/24"
AP_BROADCAST = "192.168.43.255"
AP6 = "2001:db8:43::1"
AP6_PREFIX = "2001:db8:43::/64"

OTHER_AP = "192.168.44.1"
OTHER_AP_PREFIX = "192.168.44.0/24"
OTHER_AP6 = "2001:db8:44::1"
OTHER_AP6_PREFIX = "2001:db8:44::/64"
"""The network that the laptop roams to: another prefix, another router."""

AP_MAC = "02:00:00:00:43:01"

SERVER_NAME = "vpn.example.test"
SERVER = "198.51.100.49"
SERVER6 = "2001:db8:b700::220"
SECOND_SERVER = "198.51.100.50"
SECOND_SERVER6 = "2001:db8:b700::221"
SERVER_PORT = 1194

TUNNEL_PREFIX = "192.168.255.0/24"
TUNNEL6_PREFIX = "fd00:0:0:feed::/64"
TUNNEL_DNS = "192.168.255.1"
TUNNEL_DNS6 = "fd00:0:0:feed::1"

HOST = "203.0.113.7"
HOST6 = "2001:db8:1::7"
ELSEWHERE = "203.0.113.80"
"""A host of the internet that no probe goes to."""

PUBLIC_DNS = "203.0.113.53"
PUBLIC_DNS6 = "2001:db8:1::53"

WHO = "who.example.test"
"""A name that every resolver answers with an address of its own, so that one can see which one was asked."""
WHO_AP = "192.0.2.43"
WHO_TUNNEL = "192.0.2.255"

NOBODY = 65534

NOWHERE = "nowhere.test"
"""A domain in which no name exists."""
