"""The laboratory: a laptop, an access point, a VPN server and the internet, in namespaces of their own."""
