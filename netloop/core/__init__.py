"""The ring, and the loop's turn: what every other part of netloop stands on.

Here live the declarations of the C core (``cext``), the ring with its endpoint table, buffer groups and file table
(``ring``), which thread it belongs to (``threads``), what the kernel offers (``probe``), what is to run and when
(``scheduler``), what ends a wait from outside (``wake``), what another thread sees of a loop that is stuck
(``stalls``), the turn that joins them (``turn``), and buffers that the application reads in place (``pool``). A
transport, a socket and a protocol are unknown here: the ring calls an abstract endpoint.

It uses the C core in ``cext/`` and asyncio, and no other folder of the package.
"""

from pkgutil import extend_path

# See netloop/__init__.py: the sources may be in one place and what is compiled from them in another.
__path__ = extend_path(__path__, __name__)
