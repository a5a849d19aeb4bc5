"""Pools over page-locked memory, on a machine with CUDA."""
