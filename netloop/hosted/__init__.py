"""The parts of a loop that rest on asyncio's own: what happens once per connection or once per loop, in Python.

Most modules are a base class of ``netloop.event_loop.EventLoop`` with one subject: connecting and serving, UNIX
sockets, plain sockets, watched descriptors, files, child processes, signals, the executor, stalls, being looked at from
outside, what patches loops; or, in ``tls``, the protocol that asyncio's TLS becomes. ``loop_mixin`` tells the type
checker what such a base class may call. ``totals`` adds up what the loops of the process have counted, and how long
things took, as a ``histogram``; ``socket_file`` tells whether the path of a UNIX socket is in use.

It uses ``operations``, ``transports`` and ``core``, and ``netloop`` for the types of what a loop tells about itself.
"""
