"""Virtual machines with the kernels of Debian releases, for what this machine's own kernel cannot show."""
