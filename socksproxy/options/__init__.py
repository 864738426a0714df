"""
Options of C{twistd socks5} that go together, for L{socksproxy.tap} to take in.
"""
