"""Real Debian systems with systemd as process 1, for what namespaces alone cannot show: boots, units, packages."""
