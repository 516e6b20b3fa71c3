"""A phone for tests: a real adbd, shell and toybox in namespaces of their own, and Android's commands made up.

`phone.py` has `Phone`, `fake_server.py` the states that no adbd gives.
"""
