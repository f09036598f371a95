"""The cases, by theme. Importing this package registers all of them."""

from . import (
    authority,
    connecting,
    crashes,
    impostors,
    leak_classes_frames,
    leak_classes_guests,
    leak_classes_inbound,
    leak_classes_links,
    leak_classes_modules,
    leak_classes_routes,
    old_flows,
    polite,
    policies,
    self_test,
    system,
)

__all__ = [
    "authority",
    "connecting",
    "crashes",
    "impostors",
    "leak_classes_frames",
    "leak_classes_guests",
    "leak_classes_inbound",
    "leak_classes_links",
    "leak_classes_modules",
    "leak_classes_routes",
    "old_flows",
    "polite",
    "policies",
    "self_test",
    "system",
]
