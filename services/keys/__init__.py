"""Keys: who people are and what their credentials may do.

Owns users (passwords, e-mail addresses), sign-in and its access tokens, and API keys. Hears
nothing. Says UserRegistered, KeyCreated, KeyRotated, KeyRevoked and KeyDeleted; no key, key hash,
password, name or address leaves.
"""
