"""The commands of ``python -m netloop``: doctor, demo, serve, stacks, top, bench and stress; and how the
package is built.

``arguments``, ``children``, ``cpu_time``, ``inspection`` and ``table`` are what the commands share.

It uses ``hosted``, to find a process's socket, and to see whether one is in use; and ``netloop`` as every program does.
No loop imports it.
"""
