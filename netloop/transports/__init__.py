"""What stands between a file in the ring and a protocol of the application.

``base`` is the life cycle of every transport, with the one door through which it changes and the one place from which
connection_lost() is called; ``stream``, ``datagram`` and ``pipe`` are the transports, ``listener`` makes streams of
the connections that it accepts, and ``tls`` is the half of TLS that works per packet. ``foreign_datagram`` is for the
datagrams of families whose addresses only the socket module knows. The modules that begin with ``packet_`` are the
packet endpoint: ``packet_transport`` receives ``packet_batch`` and sends from ``packet_outbox``, ``packet_options``
sets its socket up, and ``packet_protocol`` is what a program writes for it. ``outbox``, ``address``, ``fixed_socket``
and ``datagram_base`` are what all these share.

It uses ``core``.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
