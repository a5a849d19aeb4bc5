"""The benchmark's harness: what to measure, how to start it, how to measure it, how to show it."""
