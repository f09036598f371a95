"""All cases; importing this registers them."""

from . import boots, ownership, package

__all__ = ["boots", "ownership", "package"]
