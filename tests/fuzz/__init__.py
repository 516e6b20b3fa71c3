"""Files as a stranger, a bad disk or an attacker may hand them over: each is read, or refused in one line.

    python -m tests.fuzz images --count 30000
    python -m tests.fuzz manifests --count 100000
    python -m tests.fuzz results --count 6000
    python -m tests.fuzz checkpoints --count 1200

The tests run a few hundred of each. A file that makes something else happen is kept, and its path printed.
"""
