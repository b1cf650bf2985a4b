"""The simulator: a local server that plays the vendors in their own protocols.

Owns: the vendors' side of things (jobs, results, bills, faults on demand), in a folder of its
own. Hears: HTTP only, from the providers' adapters and from whoever steers its scenarios.
Says: what the vendor would say, and files that are really pictures. It is no part of the
product's own conversation: it reads no bus and writes no database.
"""
