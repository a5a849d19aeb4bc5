"""The commands of ``python -m netloop``: doctor, demo, serve, bench and stress; and how the package is built.

``children``, ``cpu_time`` and ``table`` are what the commands share.

It uses ``setup``, and ``netloop`` as every program does. No loop imports it.
"""
