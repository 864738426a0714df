"""
Options of C{twistd socks5}, a file for each topic: what they are called, what
they may be, and what is made of them.
"""
