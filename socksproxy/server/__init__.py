"""
One client, from its first byte to its last.
"""
