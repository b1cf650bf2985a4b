"""Keys: who people are and what their credentials may do.

Owns users (passwords, e-mail addresses), sign-in and its access tokens, API keys, and the keys of
vendors that users bring. Hears nothing. Says UserRegistered, KeyCreated, KeyRotated, KeyRevoked and
KeyDeleted; no key, key hash, password, name or address leaves, but a vendor's key to the service
that asks the vendor with it.
"""
