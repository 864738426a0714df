"""
Options of C{twistd socks5}, a file for each topic.
"""
