"""The edge: the one door from outside, and nothing else listens.

Owns the route table, the reading of credentials, the scopes of roles, and each surface's form of an
error; it has no tables. Asks keys whose a key or a session is and remembers it for a while; hears
what ends one (`KeyRevoked`, `KeyRotated`, `KeyDeleted`, `SessionRevoked`, `UserDisabled`,
`UserErased`), to forget it at once. Says nothing on the bus, and tells keys which keys were used.
"""
