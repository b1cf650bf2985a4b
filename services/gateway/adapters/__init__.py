"""What the gateway reads and calls: credentials, the key ring, the services behind it."""
