#!/bin/sh
# Called by NetworkManager's dispatcher with an interface and an action. A link in pre-up.d calls it before a link is
# used, when the lock must stand; as a file of dispatcher.d it is called for everything else, which is a hint only.
# The command ends by itself within 5 seconds; NetworkManager never waits longer than this for it.
exec timeout --kill-after=1 8 killswitch hook networkmanager "${1:-none}" "${2:-none}"
