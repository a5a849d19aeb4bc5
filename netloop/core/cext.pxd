"""The C core, declared for Cython: one section per header of cext/."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<stdbool.h>" nogil:
    # A truth value in an object that there are many of: one byte, where a bint is an int of four.
    ctypedef bint flag "bool"


cdef extern from "<netinet/in.h>" nogil:
    ctypedef unsigned short sa_family_t
    ctypedef unsigned int socklen_t

    struct sockaddr:
        sa_family_t sa_family

    struct sockaddr_storage:
        sa_family_t ss_family

    struct in_addr:
        uint32_t s_addr

    struct in6_addr:
        pass

    struct sockaddr_in:
        sa_family_t sin_family
        uint16_t sin_port
        in_addr sin_addr

    struct sockaddr_in6:
        sa_family_t sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id

    uint16_t htons(uint16_t value)
    uint16_t ntohs(uint16_t value)
    uint32_t htonl(uint32_t value)
    uint32_t ntohl(uint32_t value)


cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED


cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        sa_family_t sun_family
        char sun_path[108]


cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size)
    int inet_pton(int family, const char *text, void *address)


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        AF_UNIX
        SHUT_RD
        SHUT_WR
        MSG_DONTWAIT
        MSG_NOSIGNAL
        MSG_WAITALL

    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags

    ssize_t send(int fd, const void *data, size_t length, int flags)


cdef extern from "nl_kernel.h" nogil:
    enum:
        IOSQE_FIXED_FILE
        IORING_CQE_BUFFER_SHIFT
        IORING_CQE_F_BUFFER
        IORING_CQE_F_MORE
        NL_CQE_F_NOTIF
        NL_SEND_ZC_REPORT_USAGE
        IORING_SETUP_ATTACH_WQ
        IORING_SETUP_SINGLE_ISSUER
        IORING_SETUP_SQPOLL
        IORING_SETUP_SQ_AFF
        IORING_OP_URING_CMD
        NL_OP_FIXED_FD_INSTALL
        NL_OPS_KNOWN
        NL_SOCKET_GETSOCKOPT
        NL_SOCKET_SETSOCKOPT
        NL_SOCKET_GETSOCKNAME
        NL_ACCEPT_DONTWAIT

    struct io_uring_sqe:
        uint8_t flags
        uint64_t user_data

    struct io_uring_cqe:
        uint64_t user_data
        int32_t res
        uint32_t flags


cdef extern from "nl_sys.h" nogil:
    enum:
        NL_CALL_SETUP
        NL_CALL_ENTER
        NL_CALL_CONTROL
        NL_CALL_ANY

    struct nl_sys:
        pass

    struct nl_fault:
        nl_sys sys
        uint64_t calls
        uint64_t nth

    void nl_sys_real(nl_sys *sys)
    void nl_fault_init(nl_fault *fault, unsigned watched, uint64_t nth, int error)


cdef extern from "nl_token.h" nogil:
    enum:
        NL_ACCEPT
        NL_RECV
        NL_RECV_LEASED
        NL_RECVMSG
        NL_SEND
        NL_SINGLE
        NL_CLOSE
        NL_SHUTDOWN
        NL_POLL
        NL_READ
        NL_READ_MESSAGE
        NL_WRITE
        NL_OPTION
        NL_INSTALL
        NL_COMMAND
        NL_CANCEL

    const uint64_t NL_TOKEN_NONE
    const uint32_t NL_CALL_SLOT
    const uint32_t NL_GENERATION_LIMIT
    uint64_t nl_token(uint32_t slot, uint32_t generation, unsigned op, unsigned lane)
    uint32_t nl_token_slot(uint64_t token)
    uint32_t nl_token_generation(uint64_t token)
    unsigned nl_token_lane(uint64_t token)
    unsigned nl_token_op(uint64_t token)


cdef extern from "nl_slots.h" nogil:
    struct nl_slots:
        uint32_t *generation
        uint32_t capacity
        uint32_t taken

    void nl_slots_init(nl_slots *slots)
    void nl_slots_free(nl_slots *slots)
    int nl_slots_take(nl_slots *slots)
    void nl_slots_give(nl_slots *slots, uint32_t slot)
    bint nl_slots_match(const nl_slots *slots, uint32_t slot, uint32_t generation)


cdef extern from "nl_timers.h" nogil:
    const size_t NL_TIMER_IDLE

    struct nl_timer:
        double when
        size_t place
        void *owner

    struct nl_timers:
        size_t count

    void nl_timers_init(nl_timers *timers)
    void nl_timers_free(nl_timers *timers)
    int nl_timers_add(nl_timers *timers, nl_timer *timer, double when)
    void nl_timers_remove(nl_timers *timers, nl_timer *timer)
    nl_timer *nl_timers_first(const nl_timers *timers)


cdef extern from "nl_lifecycle.h" nogil:
    enum nl_state:
        NL_NEW
        NL_OPEN
        NL_HALF_CLOSED
        NL_DRAINING
        NL_CANCELLING
        NL_CLOSING
        NL_CLOSED

    enum nl_event:
        NL_ON_ATTACHED
        NL_ON_WRITE_EOF
        NL_ON_CLOSE
        NL_ON_DRAINED
        NL_ON_ABORT
        NL_ON_TOLD
        NL_ON_FILE_CLOSED
        NL_ON_RING_CLOSED

    # Declared with what a transport keeps its state in, which is smaller than an enumeration.
    unsigned char nl_next_state(unsigned char state, nl_event event)


cdef extern from "nl_polled.h" nogil:
    enum:
        NL_POLLED_MOST

    int nl_polled_look(nl_ring *ring, unsigned position)
    int nl_polled_await(nl_ring *ring, unsigned position)
    int nl_polled_wait_any(nl_ring **rings, unsigned count, int64_t timeout)

cdef extern from "nl_ring.h" nogil:
    const int64_t NL_WAIT_FOREVER

    struct nl_counters:
        uint64_t enters
        uint64_t submissions
        uint64_t completions
        uint64_t interrupted
        uint64_t woken

    struct nl_poller:
        unsigned cpu
        unsigned idle
        int shared

    struct nl_ring:
        int fd
        unsigned setup_flags
        unsigned features
        unsigned restricted
        unsigned sq_entries
        unsigned cq_entries
        io_uring_cqe *aside
        size_t aside_next
        size_t aside_end
        nl_counters counters

    int nl_ring_setup(nl_ring *ring, nl_sys *sys, unsigned sq_entries, unsigned cq_entries, unsigned flags)
    int nl_ring_setup_polled(nl_ring *ring, nl_sys *sys, unsigned sq_entries, unsigned cq_entries,
                             const nl_poller *poller)
    int nl_ring_enable(nl_ring *ring)
    void nl_ring_register_fd(nl_ring *ring)
    void nl_ring_unregister_fd(nl_ring *ring)
    int nl_ring_busy_poll(nl_ring *ring, unsigned microseconds)
    void nl_ring_close(nl_ring *ring)
    void nl_ring_abandon(nl_ring *ring)
    int nl_ring_enter(nl_ring *ring, unsigned wait, int64_t timeout)
    int nl_ring_submit(nl_ring *ring)
    int nl_ring_pass_on(nl_ring *ring)
    bint nl_ring_is_polled(const nl_ring *ring)
    bint nl_ring_has_news(const nl_ring *ring)
    int nl_ring_set_aside(nl_ring *ring)
    int nl_ring_call(nl_ring *ring, uint64_t token, int32_t *result)
    bint nl_ring_take(nl_ring *ring, uint64_t token, int32_t *result)
    unsigned nl_ring_unsubmitted(const nl_ring *ring)
    unsigned nl_ring_taken(const nl_ring *ring)
    unsigned nl_ring_position(const nl_ring *ring)
    bint nl_ring_awaits(unsigned position, unsigned taken)
    unsigned nl_ring_space(const nl_ring *ring)
    io_uring_sqe *nl_ring_sqe(nl_ring *ring)
    unsigned nl_ring_ready(const nl_ring *ring)
    bint nl_ring_overflowed(const nl_ring *ring)
    bint nl_ring_needs_enter(const nl_ring *ring)
    bint nl_ring_next(nl_ring *ring, io_uring_cqe *cqe)
    io_uring_cqe *nl_ring_peek(const nl_ring *ring, unsigned index)


cdef extern from "nl_buffers.h" nogil:
    struct nl_buffers:
        void *queue
        uint16_t group
        size_t size
        unsigned total
        unsigned limit
        unsigned offered
        unsigned taken
        unsigned high_water
        uint64_t exhausted

    int nl_buffers_open(nl_buffers *buffers, nl_ring *ring, unsigned group, size_t size, unsigned total,
                        unsigned limit)
    void nl_buffers_close(nl_buffers *buffers)
    int nl_buffers_move(nl_buffers *buffers, nl_ring *ring, const unsigned char *parked)
    bint nl_buffers_exhausted(nl_buffers *buffers)
    void nl_buffers_shrink(nl_buffers *buffers, bint named)
    void nl_buffers_note(nl_buffers *buffers, unsigned length)
    const unsigned char *nl_buffers_take(nl_buffers *buffers, unsigned completion_flags)
    void nl_buffers_give(nl_buffers *buffers, unsigned completion_flags)


cdef extern from "nl_pool.h" nogil:
    enum:
        NL_POOL_LIMIT

    const size_t NL_POOL_SIZE_LIMIT

    struct nl_pool_buffer:
        unsigned char state
        unsigned holders
        unsigned since
        unsigned dirty
        uint64_t owner

    struct nl_pool:
        unsigned char *memory
        size_t size
        unsigned count
        nl_pool_buffer *buffers
        unsigned unused
        flag serving
        flag wipes
        unsigned offered
        unsigned leased
        unsigned high_water
        unsigned lost
        unsigned wanted
        uint64_t dry
        uint64_t received
        uint64_t received_bytes
        uint64_t sent
        uint64_t sent_bytes

    int nl_pool_open(nl_pool *pool, void *memory, unsigned count, size_t size)
    void nl_pool_close(nl_pool *pool)
    int nl_pool_serve(nl_pool *pool, nl_ring *ring, unsigned group)
    void nl_pool_leave(nl_pool *pool, bint lose)
    void nl_pool_exhausted(nl_pool *pool)
    int nl_pool_oldest(const nl_pool *pool, unsigned now)
    unsigned nl_pool_now()
    unsigned char *nl_pool_address(const nl_pool *pool, unsigned id)
    void nl_pool_top_up(nl_pool *pool)
    void nl_pool_note(nl_pool *pool, unsigned length)
    void nl_pool_receive(nl_pool *pool, unsigned id, size_t length, uint64_t owner)
    int nl_pool_take(nl_pool *pool, uint64_t owner)
    void nl_pool_hold(nl_pool *pool, unsigned id)
    void nl_pool_soil(nl_pool *pool, unsigned id, size_t end)
    bint nl_pool_drop(nl_pool *pool, unsigned id)
    void nl_pool_send(nl_pool *pool, unsigned id)
    void nl_pool_sent(nl_pool *pool, unsigned id)
    void nl_pool_unregister(nl_ring *ring, unsigned group)


cdef extern from "nl_dlpack.h" nogil:
    enum:
        NL_DL_CPU
        NL_DL_CUDA_HOST
        NL_DL_ROCM_HOST
        NL_DL_CUDA_MANAGED
        NL_DL_MAJOR
        NL_DL_MINOR

    const uint64_t NL_DL_READ_ONLY
    const uint64_t NL_DL_IS_COPIED

    struct nl_dl_tensor:
        pass

    struct nl_dl_plain:
        nl_dl_tensor tensor
        void *context
        void (*deleter)(nl_dl_plain *self) noexcept nogil

    struct nl_dl_versioned:
        uint32_t major
        uint32_t minor
        void *context
        void (*deleter)(nl_dl_versioned *self) noexcept nogil
        uint64_t flags
        nl_dl_tensor tensor

    struct nl_dl_row:
        nl_dl_plain plain
        nl_dl_versioned versioned

    void nl_dl_describe(nl_dl_row *row, nl_dl_tensor *tensor, void *data, int64_t length, int32_t device_type,
                        int32_t device_id)


cdef extern from "nl_registered.h" nogil:
    struct nl_registered:
        pass

    int nl_registered_add(nl_registered *table, nl_ring *ring, void *memory, size_t bytes)
    void nl_registered_remove(nl_registered *table, nl_ring *ring, unsigned index)


cdef extern from "nl_datagram.h" nogil:
    enum:
        NL_DATAGRAM_LIMIT
        NL_DATAGRAM_NAME_ROOM
        NL_DATAGRAM_HEAD
        NL_DATAGRAM_CONTROL_ROOM

    struct nl_datagram:
        const sockaddr_storage *name
        socklen_t name_length
        const unsigned char *control
        size_t control_length
        const unsigned char *payload
        size_t length
        bint truncated

    nl_datagram nl_datagram_read(const unsigned char *buffer, int32_t result, size_t room, size_t limit)
    struct nl_datagram_front:
        pass

    nl_datagram nl_datagram_read_copied(nl_datagram_front *front, const unsigned char *buffer, size_t size,
                                        int32_t result, size_t room)
    unsigned nl_name_hash(const sockaddr_storage *name, size_t length, unsigned bits)
    long nl_datagram_room(int fd)
    uint32_t nl_datagram_drops(int fd)
    long nl_datagram_charge(size_t length)


cdef extern from "nl_packet.h" nogil:
    enum:
        NL_PAYLOAD_LIMIT_4
        NL_PAYLOAD_LIMIT_6
        NL_SEND_CONTROL_ROOM
        NL_ORIGIN_LOCAL

    struct nl_arrival:
        int64_t time
        int64_t hardware_time
        uint32_t interface
        uint32_t dropped
        uint16_t segment
        int16_t service
        int16_t hops

    struct nl_send_error:
        int error
        unsigned origin
        uint32_t info
        socklen_t destination_length
        socklen_t offender_length
        sockaddr_storage destination
        sockaddr_storage offender

    void nl_arrival_read(nl_arrival *arrival, const void *memory, size_t length)
    socklen_t nl_arrival_name(const nl_arrival *arrival, unsigned port, sockaddr_storage *name)
    size_t nl_control_add_segment(unsigned char *memory, size_t length, unsigned size)
    size_t nl_control_add_source4(unsigned char *memory, size_t length, const void *address, unsigned interface)
    size_t nl_control_add_source6(unsigned char *memory, size_t length, const void *address, unsigned interface)
    size_t nl_control_add_service(unsigned char *memory, size_t length, bint six, int service)
    int nl_dscp_of(int fd, bint six)
    size_t nl_control_add_time(unsigned char *memory, size_t length, uint64_t time)
    bint nl_send_error_take(int fd, nl_send_error *found)


cdef extern from "nl_files.h" nogil:
    struct nl_files:
        unsigned total
        unsigned unused
        unsigned margin

    int nl_files_put(nl_ring *ring, int slot, int descriptor)
    int nl_files_open(nl_files *files, nl_ring *ring, unsigned total, unsigned margin)
    void nl_files_close(nl_files *files)
    unsigned nl_files_used(const nl_files *files)
    int nl_files_take(nl_files *files)
    void nl_files_give(nl_files *files, int slot)


cdef extern from "nl_allowed.h" nogil:
    struct nl_allowed:
        unsigned number
        const char *name

    const nl_allowed *nl_allowed_operations
    const nl_allowed *nl_allowed_flags
    const nl_allowed *nl_allowed_registrations

    int nl_ring_restrict(nl_ring *ring)


cdef extern from "nl_older.h" nogil:
    enum:
        NL_LACKS_INSTALL
        NL_LACKS_ACCEPT_NOW
        NL_LACKS_READ_MULTISHOT
        NL_LACKS_OPTIONS
        NL_LACKS_NAMES
        NL_LACKS_RELEASE
        NL_LACKS_RESTRICTIONS
        NL_LACKS_NAPI

    struct nl_older:
        nl_sys sys

    void nl_older_init(nl_older *older, unsigned lacking, unsigned unknown_flags)


cdef extern from "nl_probe.h" nogil:
    struct nl_probe:
        unsigned setup_flags
        unsigned features
        bint operations[64]
        bint buffer_groups
        bint fixed_files
        bint registered_buffers
        bint registered_rings
        bint restrictions
        bint busy_polling
        bint accepts_now
        bint sets_options
        bint tells_names
        bint releases_files

    int nl_probe_run(nl_probe *probe, nl_sys *sys)
    int nl_probe_release(nl_sys *sys, unsigned flags)


cdef extern from "nl_prep.h" nogil:
    struct nl_file:
        int number
        unsigned flag

    nl_file nl_descriptor(int fd)
    nl_file nl_fixed_file(int slot)
    void nl_prep_accept(io_uring_sqe *sqe, nl_file file, sockaddr *address, socklen_t *length, int slot,
                        unsigned how, uint64_t token)
    void nl_prep_recv_multishot(io_uring_sqe *sqe, nl_file file, unsigned group, uint64_t token)
    void nl_prep_recv(io_uring_sqe *sqe, nl_file file, void *buffer, unsigned length, unsigned flags, uint64_t token)
    void nl_prep_recv_group(io_uring_sqe *sqe, nl_file file, unsigned length, unsigned group, uint64_t token)
    void nl_prep_send(io_uring_sqe *sqe, nl_file file, const void *data, unsigned length, uint64_t token)
    void nl_prep_send_silent(io_uring_sqe *sqe, nl_file file, const void *data, unsigned length, uint64_t token)
    void nl_prep_sendmsg_silent(io_uring_sqe *sqe, nl_file file, const msghdr *message, uint64_t token)
    void nl_prep_sendto(io_uring_sqe *sqe, nl_file file, const void *data, size_t length, const void *name,
                        size_t name_length, unsigned flags, uint64_t token)
    void nl_prep_sendmsg(io_uring_sqe *sqe, nl_file file, const msghdr *message, unsigned flags, uint64_t token)
    void nl_prep_send_zc(io_uring_sqe *sqe, nl_file file, const void *data, unsigned length, unsigned options,
                         int index, uint64_t token)
    bint nl_notice_copied(int result)
    void nl_prep_sendmsg_zc(io_uring_sqe *sqe, nl_file file, const msghdr *message, unsigned options, uint64_t token)
    void nl_prep_recvmsg(io_uring_sqe *sqe, nl_file file, msghdr *message, unsigned flags, uint64_t token)
    void nl_prep_recvmsg_group(io_uring_sqe *sqe, nl_file file, msghdr *message, unsigned group, uint64_t token)
    void nl_prep_recvmsg_multishot(io_uring_sqe *sqe, nl_file file, msghdr *message, unsigned group, uint64_t token)
    void nl_prep_connect(io_uring_sqe *sqe, nl_file file, const sockaddr *address, socklen_t length, uint64_t token)
    void nl_prep_shutdown(io_uring_sqe *sqe, nl_file file, int how, uint64_t token)
    void nl_prep_close(io_uring_sqe *sqe, nl_file file, uint64_t token)
    void nl_prep_poll(io_uring_sqe *sqe, nl_file file, unsigned events, uint64_t token)
    void nl_prep_read(io_uring_sqe *sqe, nl_file file, void *buffer, unsigned length, uint64_t offset, uint64_t token)
    void nl_prep_write(io_uring_sqe *sqe, nl_file file, const void *data, unsigned length, uint64_t offset,
                       uint64_t token)
    void nl_prep_read_group(io_uring_sqe *sqe, nl_file file, bint multishot, unsigned group, uint64_t token)
    void nl_prep_writev(io_uring_sqe *sqe, nl_file file, const iovec *vectors, unsigned count, uint64_t offset,
                        uint64_t token)
    void nl_prep_cancel(io_uring_sqe *sqe, uint64_t target, uint64_t token)
    void nl_prep_cancel_file(io_uring_sqe *sqe, nl_file file, uint64_t token)
    void nl_prep_cancel_all(io_uring_sqe *sqe, uint64_t token)
    void nl_prep_install(io_uring_sqe *sqe, int slot, uint64_t token)
    void nl_prep_sockopt(io_uring_sqe *sqe, nl_file file, unsigned command, int level, int option, const void *value,
                         unsigned length, uint64_t token)
    void nl_prep_getsockname(io_uring_sqe *sqe, nl_file file, sockaddr *address, socklen_t *length, bint peer,
                             uint64_t token)


cdef extern from "nl_accept.h" nogil:
    unsigned nl_accept_queue(int fd, unsigned *limit)
    int nl_accept_now(int fd, sockaddr *address, socklen_t *length)
    int nl_name_of(int descriptor, sockaddr *address, socklen_t *length)


cdef extern from "nl_heap.h" nogil:
    void nl_heap_settle()


cdef extern from "nl_pulse.h" nogil:
    struct nl_pulse:
        int64_t since
        flag has_lock

    void nl_pulse_rest(nl_pulse *pulse)
    void nl_pulse_go_on(nl_pulse *pulse)
    void nl_pulse_begin(nl_pulse *pulse, bint has_lock)
    void nl_pulse_got_lock(nl_pulse *pulse)


cdef extern from "nl_histogram.h" nogil:
    enum:
        NL_HISTOGRAM_BUCKETS

    struct nl_histogram:
        uint64_t sum
        uint64_t *counts  # an array of NL_HISTOGRAM_BUCKETS

    uint64_t nl_histogram_bound(unsigned bucket)
    void nl_histogram_add(nl_histogram *histogram, int64_t time)


cdef extern from "nl_meter.h" nogil:
    struct nl_meter:
        nl_histogram turns

    void nl_meter_rest(nl_meter *meter)
    void nl_meter_go_on(nl_meter *meter)
    int64_t nl_lateness(double due)


cdef extern from "nl_stall.h" nogil:
    enum:
        NL_STALL_CLOSED
        NL_STALL_BLOCKED
        NL_STALL_SATURATED
        NL_STALL_BLOCKED_OVER
        NL_STALL_SATURATED_OVER

    struct nl_spent:
        int64_t at
        int64_t cpu
        int64_t delay

    struct nl_stall:
        nl_pulse pulse
        int64_t turn
        nl_spent before
        int64_t length

    void nl_stall_init(nl_stall *stall, const uint64_t *callbacks, const uint64_t *completions, int64_t threshold)
    void nl_stall_enter(nl_stall *stall)
    int nl_stall_next(nl_stall *stall)
    bint nl_stall_stands(const nl_stall *stall)
    void nl_stall_close(nl_stall *stall)
    nl_spent nl_stall_spent(const nl_stall *stall)
    int64_t nl_own_delay()
    char nl_stall_state(const nl_stall *stall, char *channel, size_t size)
