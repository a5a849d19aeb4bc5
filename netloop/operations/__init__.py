"""What the ring does on descriptors of the caller, without a transport.

``operation`` is one operation that is awaited, and what nobody claims of those that were cancelled;
``socket_operation`` and ``socket_calls`` are loop.sock_recv() and its kin, and ``watch`` is add_reader() and
add_writer().

It uses ``core``, and of ``transports`` the translation of addresses.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
