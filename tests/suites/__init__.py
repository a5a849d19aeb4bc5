"""The public test suites of other projects, run on netloop; see run.py."""
