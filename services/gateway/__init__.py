"""The edge: the one door from outside, and nothing else listens.

Owns the route table, the reading of credentials, the scopes of roles, and each surface's form of an
error; it has no tables. Hears `KeyRevoked`, to forget a key at once. Says nothing.
"""
