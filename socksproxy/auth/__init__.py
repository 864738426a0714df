"""
Who is it?  One file for each way to find out, each an L{IAuthenticator
<socksproxy.interfaces.IAuthenticator>}.
"""
