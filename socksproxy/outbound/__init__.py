"""
The way to the target: names to addresses, addresses to one connection, each
put before the access policy on the way.
"""
