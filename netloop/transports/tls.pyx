# cython: language_level=3, boundscheck=False, wraparound=False
"""What TLS does per packet: records that arrive become data for the application, what it writes becomes records.

All else, the handshake, the shutdown, their timeouts and errors, is asyncio's own (asyncio.sslproto), which works on
the same fields: those that are used per packet are declared here, so that this module reads them without a look-up.
"""

import ssl
from asyncio import sslproto

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ

from netloop.core.lease_protocol import TLS_TEXT
from netloop.core.pool cimport Lease
from netloop.transports.base cimport ByteTaker
from netloop.transports.stream cimport StreamTransport

cdef enum:
    # The most that one record carries, bytes (RFC 8446, section 5.1); OpenSSL reads one at a time.
    RECORD = 16 * 1024
    # What writelines() is given becomes one write, as long as copying it is cheaper than a record of its own for each.
    JOIN = 64 * 1024
    # What is received at once when the connection below asks for memory; as much as asyncio offers.
    RECEIVE = 256 * 1024

cdef object WRAPPED = sslproto.SSLProtocolState.WRAPPED
cdef object FLUSHING = sslproto.SSLProtocolState.FLUSHING
cdef object DO_HANDSHAKE = sslproto.SSLProtocolState.DO_HANDSHAKE
cdef object SHUTDOWN = sslproto.SSLProtocolState.SHUTDOWN
cdef object SSLObject = ssl.SSLObject
cdef tuple WOULD_WAIT = (ssl.SSLWantReadError, ssl.SSLSyscallError)


cdef class TLSRecords(ByteTaker):
    """The half of a TLS protocol that works per packet; the other is asyncio.sslproto.SSLProtocol, in one class.

    Its methods stand in for those of the same names there, and do the same.
    """

    cdef public object _state
    cdef public object _extra
    cdef public object _transport
    cdef public object _incoming
    cdef public object _outgoing
    cdef public object _app_protocol
    cdef public object _app_protocol_get_buffer
    cdef public object _app_protocol_buffer_updated
    cdef public bint _app_protocol_is_buffer
    cdef public bint _app_reading_paused
    cdef public bint _app_writing_paused
    cdef public bint _ssl_reading_paused
    cdef public bint _ssl_writing_paused
    cdef public object _write_backlog
    cdef public Py_ssize_t _write_buffer_size
    cdef public object _ssl_buffer
    cdef public object _ssl_buffer_view

    cdef object sslobj
    cdef object decrypt
    cdef object encrypt
    cdef object undelivered
    # No more than this can be decrypted from what has arrived, bytes.
    cdef Py_ssize_t arrived
    # The water marks, bytes; the application may have given fractions.
    cdef double incoming_high
    cdef double incoming_low
    cdef double outgoing_high
    cdef double outgoing_low

    @property
    def _sslobj(self):
        return self.sslobj

    @_sslobj.setter
    def _sslobj(self, sslobj):
        self.sslobj = sslobj
        # ssl.SSLObject only passes calls on; a class of somebody else's may do more.
        native = sslobj._sslobj if type(sslobj) is SSLObject else sslobj
        self.decrypt, self.encrypt, self.undelivered = native.read, native.write, native.pending

    # What arrives -----------------------------------------------------------------------------------------------

    cdef int take(self, const unsigned char *data, Py_ssize_t length) except -1:
        self._incoming.write(PyMemoryView_FromMemory(<char *>data, length, PyBUF_READ))
        return self.go_on(length)

    def get_buffer(self, n):
        """Memory for what the connection below receives; see asyncio.BufferedProtocol.get_buffer.

        Made when somebody asks: netloop's own connections mostly do not.
        """
        if not self._ssl_buffer:
            self._ssl_buffer = bytearray(RECEIVE)
            self._ssl_buffer_view = memoryview(self._ssl_buffer)
        return self._ssl_buffer_view

    def buffer_updated(self, Py_ssize_t nbytes):
        """So many bytes have arrived there; see asyncio.BufferedProtocol.buffer_updated."""
        self._incoming.write(self._ssl_buffer_view[:nbytes])
        self.go_on(nbytes)

    cdef int go_on(self, Py_ssize_t length) except -1:
        """So many bytes have been added to what is to be decrypted."""
        self.arrived += length
        if self._state is WRAPPED:
            self.read()
        elif self._state is DO_HANDSHAKE:
            self._do_handshake()
        elif self._state is FLUSHING:
            self._do_flush()
        elif self._state is SHUTDOWN:
            self._do_shutdown()
        return 0

    def _do_read(self):
        if self._state is WRAPPED or self._state is FLUSHING:
            self.read()

    cdef int read(self) except -1:
        """Hand over what has arrived, then send what came of that."""
        cdef Py_ssize_t waiting
        try:
            waiting = self._incoming.pending
            if not self._app_reading_paused:
                if waiting or self.undelivered():
                    waiting = self.fill_buffer(waiting) if self._app_protocol_is_buffer else self.hand_over()
                if self._write_backlog:
                    self._do_write()
                else:
                    self.send_records()
            # What the application does not take for now stays below, beyond the water marks.
            if waiting <= self.incoming_low if self._ssl_reading_paused else waiting >= self.incoming_high:
                self._control_ssl_reading()
        except Exception as exc:
            self._fatal_error(exc, "Fatal error on SSL protocol")
        return 0

    cdef Py_ssize_t hand_over(self) except -1:
        """Decrypt all that is complete, and hand it over in one piece; returns how much is left to decrypt."""
        cdef bytes piece, data = None
        cdef list pieces = None
        cdef Py_ssize_t room, waiting = 0
        cdef bint ended = False
        try:
            while True:
                # OpenSSL fills new memory of the size asked for: little for a small record.
                room = self.arrived if 0 < self.arrived < RECORD else RECORD
                piece = self.decrypt(room)
                if not PyBytes_GET_SIZE(piece):
                    ended = True
                    break
                self.arrived -= PyBytes_GET_SIZE(piece)
                if data is None:
                    data = piece
                elif pieces is None:
                    pieces = [data, piece]
                else:
                    pieces.append(piece)
                # To ask once more than necessary costs an exception.
                waiting = self._incoming.pending
                if not waiting and (PyBytes_GET_SIZE(piece) < room or not self.undelivered()):
                    self.arrived = 0
                    break
        except WOULD_WAIT:
            waiting = self._incoming.pending
        if data is not None:
            self._app_protocol.data_received(data if pieces is None else b"".join(pieces))
        if ended:
            self.end()
        return waiting

    cdef Py_ssize_t fill_buffer(self, Py_ssize_t waiting) except -1:
        """Decrypt into the buffer of a BufferedProtocol; returns how much is left to decrypt."""
        cdef Py_ssize_t filled = 0, count = 1
        buffer = self._app_protocol_get_buffer(waiting)
        cdef Py_ssize_t size = len(buffer)
        try:
            count = filled = self.decrypt(size, buffer)
            while 0 < filled < size and (self._incoming.pending or self.undelivered()):
                count = self.decrypt(size - filled, memoryview(buffer)[filled:])
                if not count:
                    break
                filled += count
        except WOULD_WAIT:
            pass
        if filled and filled == size and (self._incoming.pending or self.undelivered()):
            # Not at once, so that other connections have their turn.
            self._loop.call_soon(self._do_read)
        waiting = self._incoming.pending
        if filled:
            self._app_protocol_buffer_updated(filled)
        if not count:
            self.end()
        return waiting

    cdef int end(self) except -1:
        """The peer has said that it sends nothing more."""
        self._call_eof_received()
        self._start_shutdown()
        return 0

    def _set_read_buffer_limits(self, high=None, low=None):
        sslproto.SSLProtocol._set_read_buffer_limits(self, high, low)
        self.incoming_high, self.incoming_low = self._incoming_high_water, self._incoming_low_water

    # What is written --------------------------------------------------------------------------------------------

    cdef int write(self, object data) except -1:
        """Encrypt and send what the application writes."""
        cdef Py_ssize_t written
        if self._state is not WRAPPED or self._write_backlog:
            self._write_appdata((data,))
            return 0
        try:
            try:
                written = self.encrypt(data)
            except WOULD_WAIT:
                written = 0
            if written < len(data):
                # A peer that changes keys comes first.
                self._write_backlog.append(data[written:])
                self._write_buffer_size += len(data) - written
            self.send_records()
        except Exception as exc:
            self._fatal_error(exc, "Fatal error on SSL protocol")
        return 0

    cdef int write_all(self, list pieces) except -1:
        cdef Py_ssize_t length = 0
        for piece in pieces:
            if type(piece) is Lease:
                raise TypeError(TLS_TEXT)
            length += len(piece)
        if not length:
            return 0
        if self._state is WRAPPED and length <= JOIN:
            try:
                joined = b"".join(pieces)
            except Exception as exc:
                self._fatal_error(exc, "Fatal error on SSL protocol")
                return 0
            return self.write(joined)
        self._write_appdata(pieces)
        return 0

    def _process_outgoing(self):
        self.send_records()

    cdef int send_records(self) except -1:
        """Hand over what is encrypted, unless the connection below wants no more; tell the application likewise."""
        cdef bytes records
        cdef Py_ssize_t waiting = self._write_buffer_size
        if self._ssl_writing_paused:
            waiting += <Py_ssize_t>self._outgoing.pending
        else:
            records = self._outgoing.read()
            if PyBytes_GET_SIZE(records):
                if type(self._transport) is StreamTransport:
                    (<StreamTransport>self._transport).write(records)
                else:
                    self._transport.write(records)
        if waiting <= self.outgoing_low if self._app_writing_paused else waiting >= self.outgoing_high:
            self._control_app_writing()
        return 0

    def _set_write_buffer_limits(self, high=None, low=None):
        sslproto.SSLProtocol._set_write_buffer_limits(self, high, low)
        self.outgoing_high, self.outgoing_low = self._outgoing_high_water, self._outgoing_low_water


class SSLTransport(sslproto._SSLProtocolTransport):
    """What the application's protocol is given: asyncio's, with native methods for what is called per packet.

    Programs tell by "ssl" in the class's name that a connection is encrypted.
    """

    def get_extra_info(self, name, default=None):
        """About TLS or the connection below; see asyncio.BaseTransport.get_extra_info."""
        cdef object protocol = self._ssl_protocol
        if not isinstance(protocol, TLSRecords):
            return super().get_extra_info(name, default)
        cdef TLSRecords records = <TLSRecords>protocol
        if name in records._extra:
            return records._extra[name]
        return default if records._transport is None else records._transport.get_extra_info(name, default)

    def write(self, data):
        """Encrypt and send bytes; never blocks. See asyncio.WriteTransport.write."""
        if type(data) is not bytes and not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")
        if not data:
            return
        cdef object protocol = self._ssl_protocol
        if not isinstance(protocol, TLSRecords):
            super().write(data)
            return
        (<TLSRecords>protocol).write(data)

    def writelines(self, list_of_data):
        """Encrypt and send several pieces; see asyncio.WriteTransport.writelines."""
        cdef object protocol = self._ssl_protocol
        if not isinstance(protocol, TLSRecords):
            super().writelines(list_of_data)
            return
        (<TLSRecords>protocol).write_all(list(list_of_data))

    def write_lease(self, lease):
        """Raises TypeError: there is nothing that could be sent from where it lies."""
        raise TypeError(TLS_TEXT)
