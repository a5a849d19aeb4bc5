"""The commands of ``python -m netloop``: doctor, demo, serve, bench and stress; and how the package is built.

They use all other floors, and no loop imports them.
"""
