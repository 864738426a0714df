"""
The tests of L{socksproxy}: test_<room>_<file>.py, one to one.
"""
