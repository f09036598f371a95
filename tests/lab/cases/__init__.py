"""The cases, by theme. Importing this package registers all of them."""

from . import authority, connecting, crashes, impostors, system

__all__ = ["authority", "connecting", "crashes", "impostors", "system"]
