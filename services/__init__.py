"""One folder per service; a service imports the kernel and contracts, never another service."""
