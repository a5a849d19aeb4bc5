"""The one exception of the harness."""


class BenchError(Exception):
    """Something the reader of the report should know, in one sentence."""
