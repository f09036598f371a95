"""All cases; importing this registers them."""

from . import boots, ownership, package, proof

__all__ = ["boots", "ownership", "package", "proof"]
