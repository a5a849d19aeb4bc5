"""Where a loop departs from what a test asks, and why.

A test is written for the behaviour asyncio documents and shows. A loop that lacks or changes it is listed here, and
only here: the entry is expected to fail, so that it is noticed when it no longer does. What would hang, crash the
process or disturb later tests is skipped.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """Why one loop is not expected to pass a test, whether it must not even be tried, and whether it may pass."""

    reason: str
    skip: bool = False
    at_times: bool = False


def fails(reason: str) -> Difference:
    """The test is run and must fail."""
    return Difference(reason)


def skipped(reason: str) -> Difference:
    """The test is not run in the suite; `python -m loop.table` tries it in a process of its own, where it must fail."""
    return Difference(reason, skip=True)


def unreliable(reason: str) -> Difference:
    """The test is not run: it fails in some runs and passes in others."""
    return Difference(reason, skip=True, at_times=True)


NO_SENDFILE = "loop.sendfile is not there"
NO_UNIX_DATAGRAMS = "datagram endpoints are for UDP only"
NO_LOOKUP = "sendto takes numeric addresses only"
RAISES_IN_SENDTO = "sendto raises for an address that is none, or ignores it"
NO_CALLBACK_CHECK = "callbacks are not checked in debug mode"
OWN_HANDLES = "handles only look like asyncio's"
NO_ATTRIBUTES = "transports take no attributes"
NOT_RESTORED = "the handlers of removed signals are not restored"
RETURNS_NONE = "remove_reader and remove_writer return None"
NO_ROOM_IS_PROGRESS = "a full backlog is taken for a connection in progress"
NO_ROOM_IS_AN_ERROR = "a full backlog is an error"
OLD_WATCH = "the next owner of a number that was closed while it was watched cannot be watched"
NO_ABSTRACT_NAMES = "it cannot connect to an abstract name"
DATA_FIRST = "data may be delivered before the call that connects has returned"
RUNS_ON = "a writer that does not ask is not paused when the connection is lost, and runs on"
NO_RECVFROM = "sock_recvfrom, sock_recvfrom_into and sock_sendto are not there"
ITEMS_FOR_BYTES = "what is left to send is counted in items, not in bytes"
ONE_READER = "a second reader takes the place of the first, which waits for ever"
CLOSED_UNSEEN = "an operation whose socket is closed waits for ever"
OTHER_NAMES = "arguments have other names"
RAISES_WHEN_CLOSED = "a transport that is gone raises RuntimeError instead of ignoring the call"
LEFT_SERVING = "a server whose start is cancelled goes on serving"
LOST_WHEN_CANCELLED = "what a call had taken when it was cancelled is lost"
LOST_SOCKETS = "an attempt that succeeds when the race is cancelled leaves its socket open"
LEFT_PIPES = "pipes that are not connected yet when the start is cancelled stay open while a child's child lives"
LEFT_TRANSPORT = "a transport that is half made when the call is cancelled is not let go of"
OWN_LOOK_UP = "hosts are looked up without getaddrinfo()"
CLOSED_AGAIN = "the socket of a server that cannot listen is closed, where asyncio's is forgotten with a warning"
NOT_TOLD_OF_PAUSE = "a protocol is told to resume writing that was not told to pause it"
MORE_MEMORY = "an idle connection takes more"
NO_NAMES_AFTER_THE_END = "asking for the peer of a connection that has ended is an AttributeError"
WAIT_AS_ONE = "messages that wait for room are written as one"
NOT_TOLD_OF_END = "the protocol is not told of the end of a connection whose handshake is cancelled"
TAKEN_FOR_GOOD = "who had the wake-up descriptor before a signal handler was added hears of no signal any more"
TAKEN_STATUS = [
    f"test_subprocess::test_a_status_that_somebody_else_takes_is_told_all_the_same[{parameters}]"
    for parameters in ("kill -KILL $$--9", "exit 7-7")
]

# Where netloop departs from asyncio on purpose.
NAMED_AT_ONCE = "a time that is no number is refused when it is given, not when timers are compared"
NAMES_THE_METHOD = "the error handler is told of connection_lost(), with transport and protocol"
NAMES_THE_FILE = "the error says why it cannot be watched"
NO_ASSERTION = "a wrong type is a TypeError that says so, not a failed assertion"
NO_ITERABLE = "what writelines() cannot take is told in other words"
EARLIER_WORDS = "what write() cannot take is told in the words of Python before 3.14"
SAYS_WHY_NOT = "NotImplementedError says why a transport has no such method"
NEVER_FORGOTTEN = "a connection that nobody refers to is never closed"
CLOSES_CONNECTIONS = "closing the loop closes its connections, with a warning for each"

# loop name → "module::test" or "module::test[parameters without the loop]" → difference
DIFFERENCES: dict[str, dict[str, Difference]] = {
    "asyncio": {
        "test_crowds::test_a_connection_is_answered_before_a_crowd_is": fails(
            "it accepts as many as the backlog at once, and one turn serves them all"
        ),
        "test_sendfile::test_a_cancelled_transfer_into_a_socket_tells_how_much_was_sent": fails(
            "the file's position is not set when a transfer into a socket is cancelled"
        ),
        "test_datagram::test_a_pair_of_unix_sockets_needs_no_address": skipped(
            "sendto wants an address where the peer has no name"
        ),
        "test_write::test_a_buffer_may_be_reused_after_write[5000000]": fails(
            "from Python 3.12 on what the kernel does not take at once is held, not copied"
        ),
        "test_unix::test_more_connections_than_the_backlog_holds": skipped(NO_ROOM_IS_PROGRESS),
        "test_subprocess::test_closing_the_loop_while_a_child_lives": skipped("a thread keeps the child alive"),
        **dict.fromkeys(TAKEN_STATUS, skipped("255 is reported")),
        "test_server_calls::test_a_factory_that_fails_costs_one_connection": skipped("its socket is left unclosed"),
        "test_server_calls::test_a_factory_that_fails_is_reported": fails("only in debug mode"),
        "test_shared_listeners::test_what_a_closed_server_has_not_served_is_left_to_others[2]": skipped(
            "a connection that is accepted in the turn in which the server is closed is forgotten"
        ),
        "test_lifetime::test_idle_connections_take_little_memory": fails(MORE_MEMORY),
        "test_pipes::test_a_fifo_opened_for_both": fails("data that waits is taken for the end of the reader"),
        "test_foreign_datagrams::test_replies_to_the_address_that_was_received": skipped(
            "an address counts for nothing where the socket names a peer, as a netlink socket always does"
        ),
        "test_message_pipes::test_messages_that_wait_for_room_stay_apart": skipped(WAIT_AS_ONE),
        "test_message_pipes::test_closing_writes_the_messages_that_wait": skipped(WAIT_AS_ONE),
        "test_message_pipes::test_a_packet_pipe_splits_what_is_larger_than_a_packet": skipped(WAIT_AS_ONE),
        "test_message_pipes::test_a_write_that_fails_in_connection_made": skipped(
            "the reader of a pipe that is closed is watched: an AttributeError for the exception handler"
        ),
        "test_unix::test_cancelling_a_connection_that_waits": skipped(NO_ROOM_IS_PROGRESS),
        "test_tls::test_a_writer_that_is_never_told_to_wait_hears_of_the_end": skipped(RUNS_ON),
        "test_sockets::test_sendall_of_wide_items": skipped(ITEMS_FOR_BYTES),
        "test_sockets::test_two_readers_of_one_socket": skipped(ONE_READER),
        "test_socket_errors::test_a_socket_closed_before_the_operation_has_begun": skipped(CLOSED_UNSEEN),
        "test_socket_errors::test_closing_a_socket_while_it_receives": skipped(CLOSED_UNSEEN),
        "test_socket_errors::test_a_blocking_socket_does_not_block_the_loop": skipped("it does"),
        "test_closed_watchers::test_the_next_owner_of_a_number_may_be_watched": skipped(OLD_WATCH),
        "test_closed_watchers::test_a_number_that_was_closed_cannot_be_watched_anew": fails("it is without effect"),
        "test_closed_watchers::test_reader_and_writer_of_a_socket_that_was_closed_can_be_removed": fails(
            "removing the first of the two fails"
        ),
        "test_cancelling::test_a_receive_inside_others": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_connections::test_create_connection_with_happy_eyeballs": skipped(LOST_SOCKETS),
        "test_cancelling_connections::test_create_connection_where_refusals_start_the_next": skipped(LOST_SOCKETS),
        "test_cancelling_processes::test_subprocess_shell": skipped(LEFT_PIPES),
        "test_cancelling_processes::test_a_child_whose_own_child_keeps_the_pipes": skipped(LEFT_PIPES),
        "test_cancelling_processes::test_create_subprocess": skipped(LEFT_PIPES),
        "test_cancelling_servers::test_create_server": skipped(LEFT_SERVING),
        "test_cancelling_servers::test_create_server_over_tls": skipped(LEFT_SERVING),
        "test_cancelling_servers::test_create_unix_server": skipped(LEFT_SERVING),
        "test_cancelling_servers::test_start_server": skipped(LEFT_SERVING),
        "test_cancelling_servers::test_serve_forever": skipped(LEFT_SERVING),
        "test_cancelling_servers::test_wait_closed": skipped(LEFT_SERVING),
        "test_cancelling_sockets::test_sock_accept": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_sock_recv": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_sock_recv_into": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_sock_recvfrom": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_sock_recvfrom_into": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_a_buffer_can_be_resized_as_soon_as_the_call_is_cancelled": skipped(
            LOST_WHEN_CANCELLED
        ),
        "test_cancelling_streams::test_sendfile_to_a_peer_that_does_not_read[memory-plain]": unreliable(
            NOT_TOLD_OF_PAUSE
        ),
        "test_cancelling_streams::test_sendfile_to_a_peer_that_does_not_read[memory-tls]": unreliable(
            NOT_TOLD_OF_PAUSE
        ),
        "test_cancelling_streams::test_sendfile_to_a_peer_that_does_not_read[file-tls]": unreliable(NOT_TOLD_OF_PAUSE),
        "test_cancelling_streams::test_who_cancels_start_tls_hears_of_the_end": skipped(NOT_TOLD_OF_END),
        "test_blocking_calls::test_a_server_at_a_path[left over]": skipped("os.remove() is let through nowhere"),
        "test_wakeup_descriptor::test_the_owner_hears_of_signals_that_the_loop_has_handlers_for": skipped(
            TAKEN_FOR_GOOD
        ),
        "test_wakeup_descriptor::test_the_owner_has_it_again_when_the_loop_has_no_handlers_any_more": fails(
            TAKEN_FOR_GOOD
        ),
    },
    "uvloop": {
        "test_crowds::test_who_waits_when_the_loop_is_closed_hears_of_it": skipped(
            "loop.close() does not return while connections are open that the server was closed with"
        ),
        "test_datagram::test_the_errors_of_what_was_sent_before_close_are_told[in error_received]": fails(
            "errors are not told after close()"
        ),
        "test_blocking_calls::test_a_server_at_a_path": skipped("its os.stat() is not let through"),
        "test_datagram::test_a_full_receiver_that_is_not_connected": skipped(NO_UNIX_DATAGRAMS),
        "test_datagram::test_a_large_unix_datagram_arrives_whole": skipped(NO_UNIX_DATAGRAMS),
        "test_datagram::test_a_path_where_nobody_listens": skipped(NO_UNIX_DATAGRAMS),
        "test_datagram::test_unix_datagrams_between_paths": skipped(NO_UNIX_DATAGRAMS),
        "test_forgotten::test_a_forgotten_connection_is_closed": skipped(NEVER_FORGOTTEN),
        "test_forgotten_loops::test_a_child_of_a_fork_forgets_what_its_parent_goes_on_with": skipped(NEVER_FORGOTTEN),
        "test_forgotten::test_a_finalizer_writes_and_closes": skipped(NEVER_FORGOTTEN),
        "test_forgotten::test_a_server_is_closed_when_a_connection_of_its_own_was_just_collected": skipped(
            NEVER_FORGOTTEN
        ),
        "test_forgotten::test_a_server_waits_for_its_connections_and_one_is_forgotten": skipped(NEVER_FORGOTTEN),
        "test_forgotten_loops::test_a_loop_is_forgotten_with_its_connections": skipped(NEVER_FORGOTTEN),
        "test_forgotten::test_collections_at_any_moment": skipped(NEVER_FORGOTTEN),
        "test_forgotten::test_the_warning_is_an_error": skipped(NEVER_FORGOTTEN),
        "test_forgotten::test_a_forgotten_reader_of_a_pipe_is_closed": skipped(NEVER_FORGOTTEN),
        "test_forgotten_loops::test_a_loop_is_closed_while_connections_rest": skipped(CLOSES_CONNECTIONS),
        "test_forgotten_loops::test_a_loop_is_closed_before_it_could_close_what_was_collected": skipped(
            CLOSES_CONNECTIONS
        ),
        "test_forgotten_loops::test_a_loop_is_closed_with_a_callback_that_alone_knew_a_connection": skipped(
            CLOSES_CONNECTIONS
        ),
        "test_foreign_datagrams::test_an_endpoint_without_a_socket_of_the_caller": fails(NO_UNIX_DATAGRAMS),
        "test_foreign_datagrams::test_replies_to_the_address_that_was_received": skipped(NO_UNIX_DATAGRAMS),
        "test_datagram::test_unix_datagrams_to_a_path": skipped(NO_UNIX_DATAGRAMS),
        "test_datagram::test_unix_datagrams_in_the_abstract_name_space": skipped(NO_UNIX_DATAGRAMS),
        "test_datagram::test_aborting_drops_datagrams_that_are_blocked": skipped(
            "a datagram that is dropped by abort is a fatal error for the exception handler"
        ),
        "test_datagram::test_what_a_waiting_datagram_counts_for": skipped(
            "a datagram that is dropped by abort is a fatal error for the exception handler"
        ),
        "test_datagram::test_a_host_name_is_looked_up": skipped(NO_LOOKUP),
        "test_datagram::test_a_reply_from_a_host_by_name_comes_from_its_number": skipped(NO_LOOKUP),
        "test_datagram::test_a_name_that_does_not_exist_is_an_error": skipped(NO_LOOKUP),
        "test_datagram::test_a_port_in_use": skipped("the transport of an endpoint that failed is left unclosed"),
        "test_datagram::test_a_port_out_of_range_ends_the_endpoint": skipped(RAISES_IN_SENDTO),
        "test_datagram::test_an_address_that_is_none_ends_the_endpoint": skipped(RAISES_IN_SENDTO),
        "test_datagram::test_an_endpoint_that_is_never_closed_warns": skipped("closing the loop never ends"),
        "test_datagram::test_an_exception_in_connection_made_is_reported": skipped("the endpoint is never made"),
        "test_datagram::test_an_exception_in_error_received_is_reported_and_the_endpoint_goes_on": skipped(
            "it is printed and lost"
        ),
        "test_datagram::test_broadcast_with_a_remote_address_is_not_connected": fails("it is connected"),
        "test_datagram::test_nothing_comes_while_reading_is_paused": fails("datagram transports cannot pause reading"),
        "test_datagram::test_the_default_water_marks": fails("the low-water mark is 16 bytes"),
        "test_datagram::test_the_transport_is_a_datagram_transport": fails("transports only look like asyncio's"),
        "test_datagram::test_types_that_may_not_be_sent": fails("the errors read differently, and None is taken"),
        "test_callbacks::test_a_coroutine_function_is_refused_in_debug_mode": skipped(NO_CALLBACK_CHECK),
        "test_callbacks::test_something_not_callable_is_refused_in_debug_mode": skipped(NO_CALLBACK_CHECK),
        "test_executor::test_the_default_executor_must_be_a_thread_pool": skipped("any object is taken"),
        "test_executor::test_shutdown_gives_up_after_its_timeout": skipped("the timeout has no effect"),
        "test_handles::test_it_is_a_handle": fails(OWN_HANDLES),
        "test_handles::test_timers_are_timer_handles": fails(OWN_HANDLES),
        "test_handles::test_timers_compare_by_their_deadlines": fails("timer handles have no order"),
        "test_handles::test_get_context": fails("handles have no get_context"),
        "test_names::test_getaddrinfo[('fe80::1%lo',80)-{'type':<SocketKind.SOCK_STREAM:1>}]": fails(
            "the scope of a link-local address is lost"
        ),
        "test_subprocess::test_a_child_that_does_not_read": unreliable("the pipe is gone before it is asked"),
        "test_sendfile::test_a_part_of_a_file": fails(NO_SENDFILE),
        "test_sendfile::test_a_file_without_a_descriptor": fails(NO_SENDFILE),
        "test_sendfile::test_where_the_file_stands_when_there_was_nothing_to_send": fails(NO_SENDFILE),
        "test_sendfile::test_a_cancelled_transfer_into_a_socket_tells_how_much_was_sent": skipped(
            "loop.sock_sendfile is not there"
        ),
        "test_sendfile::test_a_peer_that_leaves_amid_a_large_file": skipped(NO_SENDFILE),
        "test_sendfile::test_a_part_of_a_file_into_a_socket": skipped("loop.sock_sendfile is not there"),
        "test_sendfile::test_writing_meanwhile_is_refused": fails(NO_SENDFILE),
        "test_sendfile::test_a_file_that_becomes_shorter": fails(NO_SENDFILE),
        "test_sendfile::test_a_transfer_that_is_cancelled": fails(NO_SENDFILE),
        "test_sendfile::test_a_peer_that_leaves": fails(NO_SENDFILE),
        "test_sendfile::test_a_transport_that_is_closing": fails(NO_SENDFILE),
        "test_sendfile::test_the_same_protocol_goes_on_afterwards": fails(NO_SENDFILE),
        "test_server_calls::test_a_factory_that_fails_costs_one_connection": skipped("the client waits for ever"),
        "test_server_calls::test_a_factory_that_fails_is_reported": skipped("the client waits for ever"),
        "test_wildcards::test_shutting_a_connection_down_by_its_socket": fails("a transport's socket has no shutdown"),
        "test_server_calls::test_addresses_of_both_families_are_tried_in_turn": fails("no interleave"),
        "test_server_calls::test_all_errors_are_told_in_a_group": fails("no all_errors"),
        "test_server_calls::test_a_local_address_of_the_wrong_family_is_passed_over": fails(
            "names are looked up by another way than loop.getaddrinfo"
        ),
        "test_server_calls::test_close_clients_sends_what_was_written_and_abort_clients_does_not": skipped(
            "no close_clients and no abort_clients"
        ),
        "test_server_calls::test_closing_ends_serve_forever": skipped("it goes on for ever"),
        "test_server_calls::test_happy_eyeballs_does_not_wait_for_an_address_that_hangs": fails("no happy eyeballs"),
        "test_tls_options::test_a_file_is_sent_over_tls": fails(NO_SENDFILE),
        "test_tls_options::test_a_socket_that_speaks_tls_already_is_refused": skipped("it is taken"),
        "test_tls_options::test_aborting_connections_in_their_handshake": fails(
            "no close_clients and no abort_clients"
        ),
        "test_server::test_wait_closed_waits_for_the_connections": fails("wait_closed returns at once"),
        "test_server::test_a_server_can_end_its_connections": fails("no close_clients and no abort_clients"),
        "test_crowds::test_who_is_accepted_is_among_those_that_the_server_ends": fails(
            "no close_clients and no abort_clients"
        ),
        "test_server::test_keep_alive": fails("create_server does not take keep_alive"),
        "test_signals::test_removing_a_handler_restores_the_default": skipped(NOT_RESTORED),
        "test_signals::test_closing_the_loop_removes_the_handlers": skipped(NOT_RESTORED),
        "test_signals::test_signals_wake_a_loop_that_has_nothing_else_to_do": skipped(NOT_RESTORED),
        "test_signals::test_a_signal_before_the_loop_runs_is_handled_when_it_does": skipped(
            "a signal is seen only while the loop runs"
        ),
        "test_signals::test_an_exception_of_a_plain_python_handler_leaves_the_loop": skipped(
            "exceptions other than KeyboardInterrupt go to the exception handler"
        ),
        "test_signals::test_an_interrupt_in_a_protocol_ends_the_run_and_the_loop_runs_again": skipped(
            "an interrupt in data_received closes the transport and the loop runs on"
        ),
        "test_subclassing::test_a_transport_takes_attributes": fails(NO_ATTRIBUTES),
        "test_subclassing::test_an_assigned_write_is_what_streams_use": fails(NO_ATTRIBUTES),
        "test_lifetime::test_a_loop_that_is_never_closed_is_collected_with_a_warning": skipped(
            "it warns only in debug mode, and its descriptors stay open"
        ),
        "test_lifetime::test_idle_connections_take_little_memory": fails(MORE_MEMORY),
        "test_client::test_happy_eyeballs_reaches_the_address_that_answers": fails("no happy eyeballs"),
        "test_client::test_the_error_of_a_race_that_nobody_wins_is_held_by_nothing_else": fails("no happy eyeballs"),
        "test_client::test_refused": fails("the error does not name the address"),
        "test_protocol::test_the_transport_is_an_asyncio_transport": fails("transports only look like asyncio's"),
        "test_protocol::test_who_asks_after_the_end_is_told_the_peer": fails(NO_NAMES_AFTER_THE_END),
        "test_protocol::test_an_exception_in_a_buffered_protocol_ends_the_connection[get_buffer]": fails(
            "an exception in get_buffer becomes a RuntimeError"
        ),
        "test_write::test_types_that_may_not_be_written[NoneType]": fails("write(None) is ignored"),
        "test_write::test_a_buffer_may_be_reused_after_write[5000000]": fails("a buffer is held until it is sent"),
        "test_flow_control::test_the_default_water_marks": fails("the low-water mark is 16 bytes"),
        "test_flow_control::test_pausing_in_connection_made": fails("the pause is forgotten"),
        "test_end_of_run::test_an_exit_in_connection_lost_keeps_nobody_elses_from_being_called": fails(
            "an exit in connection_lost is lost"
        ),
        "test_closing::test_a_peer_that_closes_while_we_keep_data_for_it": fails(RAISES_WHEN_CLOSED),
        "test_closing::test_writing_after_the_end_does_nothing": fails(RAISES_WHEN_CLOSED),
        "test_tls::test_connect_accepted_socket_over_tls": skipped("it returns its own protocol and hangs in close"),
        "test_tls::test_a_writer_that_is_never_told_to_wait_hears_of_the_end": skipped(RUNS_ON),
        "test_watchers::test_a_reader_is_called_when_there_is_data": fails(RETURNS_NONE),
        "test_watchers::test_a_writer_is_called_while_there_is_room": fails(RETURNS_NONE),
        "test_watchers::test_reader_and_writer_on_one_descriptor": fails(RETURNS_NONE),
        "test_watchers::test_removing_what_is_not_there": fails(RETURNS_NONE),
        "test_watchers::test_descriptor_numbers_and_objects_are_the_same": fails(RETURNS_NONE),
        "test_watchers::test_what_takes_the_place_of_a_callback_that_is_due_waits_for_the_next_event": fails(
            "it is called for the same event"
        ),
        "test_closed_watchers::test_the_next_owner_of_a_number_may_be_watched": skipped(OLD_WATCH),
        "test_closed_watchers::test_a_number_that_was_closed_cannot_be_watched_anew": skipped("the process is aborted"),
        "test_closed_watchers::test_the_peer_of_a_watched_socket_sees_it_closed": skipped(
            "a socket stays open while it is watched"
        ),
        "test_order::test_what_a_protocol_factory_schedules_comes_before_connection_made": fails(
            "data comes before what connection_made has scheduled"
        ),
        "test_order::test_what_another_thread_schedules_comes_before_what_arrives": fails(
            "what has arrived comes before what another thread has scheduled"
        ),
        "test_order::test_who_connects_has_the_transport_before_the_first_data": fails(DATA_FIRST),
        "test_order::test_who_opens_a_pipe_has_the_transport_before_the_first_data": fails(DATA_FIRST),
        "test_unix::test_clients_that_have_names[path-ended]": fails(NO_NAMES_AFTER_THE_END),
        "test_unix::test_clients_that_have_names[abstract-ended]": fails(NO_NAMES_AFTER_THE_END),
        "test_unix::test_more_connections_than_the_backlog_holds": skipped(NO_ROOM_IS_AN_ERROR),
        "test_unix::test_cancelling_a_connection_that_waits": fails(NO_ROOM_IS_AN_ERROR),
        "test_unix::test_abstract_names": fails(NO_ABSTRACT_NAMES),
        "test_unix::test_the_longest_abstract_name": fails(NO_ABSTRACT_NAMES),
        "test_unix::test_streams_in_lines": skipped(NO_ABSTRACT_NAMES),
        "test_unix::test_a_path_that_is_too_long": fails("a path that is too long is cut"),
        "test_signatures::test_methods_of_a_loop[add_reader]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[add_writer]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[remove_reader]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[remove_writer]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[connect_read_pipe]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[connect_write_pipe]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[subprocess_exec]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[subprocess_shell]": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_loop[sock_sendfile]": fails("it is not there"),
        "test_signatures::test_methods_of_a_loop[create_connection]": fails("no happy eyeballs, no all_errors"),
        "test_signatures::test_methods_of_a_stream": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_pipes": fails(OTHER_NAMES),
        "test_signatures::test_methods_of_a_transports_socket": fails("it only looks like asyncio's"),
        "test_pipes::test_the_answer_to_eof_received_does_not_keep_a_pipe_open": skipped("it does"),
        "test_pipes::test_an_error_in_data_received_is_reported_and_reading_goes_on": skipped("reading ends"),
        "test_pipes::test_closing_writes_what_is_left": skipped("write_eof() is not close()"),
        "test_pipes::test_writing_without_a_reader": skipped(RAISES_WHEN_CLOSED),
        "test_pipes::test_a_fifo_opened_for_both": skipped("what was written is read back by the transport"),
        "test_pipes::test_what_the_transports_are": skipped("transports only look like asyncio's"),
        "test_pipes::test_writing_to_a_device": skipped("the process is aborted"),
        "test_pipes::test_regular_files_are_refused": skipped("the process is aborted"),
        "test_pipes::test_closing_the_loop_before_the_transports": skipped("the process hangs or is aborted"),
        "test_pipes::test_reading_and_writing_one_terminal": skipped("the loop blocks in a write to the terminal"),
        "test_message_pipes::test_messages_that_wait_for_room_stay_apart": skipped(WAIT_AS_ONE),
        "test_message_pipes::test_closing_writes_the_messages_that_wait": skipped(WAIT_AS_ONE),
        "test_message_pipes::test_a_reader_that_has_gone": skipped(RAISES_WHEN_CLOSED),
        "test_message_pipes::test_a_write_that_fails_in_connection_made": skipped("the file is never closed"),
        "test_message_pipes::test_large_messages_arrive_whole[262144]": fails("messages are cut to 256,000 bytes"),
        "test_message_pipes::test_each_write_to_a_tun_device_is_a_packet": skipped(
            "packets that it could read end the connection"
        ),
        "test_subprocess::test_writing_to_a_child_that_has_closed_its_input": skipped("drain does not say so"),
        "test_subprocess::test_a_child_that_closes_its_output_and_lives_on": skipped("wait() does not return"),
        "test_subprocess::test_a_command_must_be_of_the_right_kind": skipped("another exception is raised"),
        "test_subprocess::test_the_protocol_is_told": skipped("transports only look like asyncio's"),
        "test_subprocess::test_cancelling_the_start": unreliable("the child of a start that is cancelled runs on"),
        "test_subprocess::test_without_a_descriptor_to_spare": skipped("the error does not name its cause"),
        "test_subprocess::test_the_input_can_be_opened_by_name": fails("standard input is a socket"),
        "test_subprocess::test_only_the_descriptors_that_are_passed": fails("pass_fds lets all others through"),
        "test_subprocess::test_closing_the_loop_while_a_child_lives": skipped("the process hangs"),
        "test_subprocess::test_a_child_whose_status_somebody_else_takes": skipped("wait() does not return"),
        **dict.fromkeys(TAKEN_STATUS, skipped("wait() does not return")),
        "test_socket_addresses::test_datagrams_with_their_senders": fails(NO_RECVFROM),
        "test_socket_addresses::test_empty_and_truncated_datagrams": fails(NO_RECVFROM),
        "test_socket_addresses::test_waiting_for_a_datagram_of_no_bytes": fails(NO_RECVFROM),
        "test_socket_addresses::test_large_datagrams": fails(NO_RECVFROM),
        "test_socket_addresses::test_recvfrom_on_streams_gives_no_address": fails(NO_RECVFROM),
        "test_socket_addresses::test_ipv6_addresses": fails(NO_RECVFROM),
        "test_socket_addresses::test_pairs_of_unix_sockets": fails(NO_RECVFROM),
        "test_socket_addresses::test_names_of_unix_sockets": fails(NO_RECVFROM),
        "test_socket_errors::test_what_sockets_refuse": skipped("the errors read differently, or there is none"),
        "test_socket_errors::test_a_closed_socket": skipped("the errors read differently"),
        "test_socket_errors::test_tls_sockets_are_refused": skipped("TLS sockets are refused in debug mode only"),
        "test_socket_errors::test_the_descriptor_of_a_transport_is_refused[recvfrom]": fails(NO_RECVFROM),
        "test_socket_errors::test_a_socket_closed_before_the_operation_has_begun": skipped(CLOSED_UNSEEN),
        "test_sockets::test_nothing_to_receive_or_send": skipped("a receive of no bytes waits"),
        "test_sockets::test_sendall_of_wide_items": skipped(ITEMS_FOR_BYTES),
        "test_sockets::test_two_readers_of_one_socket": skipped(ONE_READER),
        "test_cancelling::test_getnameinfo": skipped(
            "the answer to a call that was cancelled is an error for the exception handler"
        ),
        "test_cancelling::test_shutdown_default_executor": skipped("the loop is blocked until the threads have ended"),
        "test_cancelling::test_a_receive_inside_others": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_connections::test_create_connection_where_the_first_addresses_refuse": skipped(OWN_LOOK_UP),
        "test_cancelling_connections::test_create_connection_with_happy_eyeballs": skipped("no happy eyeballs"),
        "test_cancelling_connections::test_create_connection_where_refusals_start_the_next": skipped(
            "no happy eyeballs"
        ),
        "test_cancelling_connections::test_create_connection_over_tls": skipped(LEFT_TRANSPORT),
        "test_cancelling_connections::test_a_tls_server_that_does_not_answer": skipped(LEFT_TRANSPORT),
        "test_cancelling_connections::test_connect_accepted_socket_over_tls": skipped(LEFT_TRANSPORT),
        "test_cancelling_connections::test_create_unix_connection_over_tls": skipped(LEFT_TRANSPORT),
        "test_cancelling_connections::test_create_unix_connection_to_a_full_backlog": skipped(NO_ROOM_IS_AN_ERROR),
        "test_cancelling_connections::test_create_datagram_endpoint": skipped("closing the loop never ends"),
        "test_cancelling_processes::test_connect_read_pipe": skipped(LEFT_TRANSPORT),
        "test_cancelling_processes::test_connect_write_pipe": skipped(LEFT_TRANSPORT),
        "test_cancelling_sockets::test_sock_accept": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_sock_recv": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_sock_recv_into": skipped(LOST_WHEN_CANCELLED),
        "test_cancelling_sockets::test_a_buffer_can_be_resized_as_soon_as_the_call_is_cancelled": skipped(
            LOST_WHEN_CANCELLED
        ),
        "test_cancelling_sockets::test_sock_recvfrom": skipped(NO_RECVFROM),
        "test_cancelling_sockets::test_sock_recvfrom_into": skipped(NO_RECVFROM),
        "test_cancelling_sockets::test_sock_sendto": skipped(NO_RECVFROM),
        "test_cancelling_sockets::test_sock_sendfile": skipped(NO_SENDFILE),
        "test_cancelling_sockets::test_a_unix_datagram_that_waits_for_room_arrives_whole[False]": fails(NO_RECVFROM),
        "test_cancelling_streams::test_start_tls": skipped(LEFT_TRANSPORT),
        "test_cancelling_streams::test_sendfile": fails(NO_SENDFILE),
        "test_cancelling_streams::test_sendfile_to_a_peer_that_does_not_read": fails(NO_SENDFILE),
    },
    "netloop": {
        "test_bad_connections::test_serving[loop.create_server(Protocol, HOST, 0, backlog='1')]": fails(CLOSED_AGAIN),
        "test_bad_connections::test_serving[loop.create_server(Protocol, HOST, 0, backlog=None)]": fails(CLOSED_AGAIN),
        "test_bad_input::test_while_the_loop_runs[loop.call_at('1', print)]": fails(NAMED_AT_ONCE),
        "test_bad_input::test_while_the_loop_runs[loop.add_reader(binary, print)]": fails(NAMES_THE_FILE),
        "test_bad_input::test_while_the_loop_runs[loop.add_writer(binary, print)]": fails(NAMES_THE_FILE),
        "test_bad_connections::test_unix_sockets[loop.create_unix_connection(Protocol, path, "
        "server_hostname=1)]": fails(NO_ASSERTION),
        "test_bad_connections::test_unix_sockets[loop.create_unix_connection(Protocol, path, ssl=client_tls, "
        "server_hostname=1)]": fails(NO_ASSERTION),
        "test_closing::test_a_write_after_close_is_dropped_when_all_was_sent": fails(
            "what was written in the same turn is still to be sent, so it goes out too"
        ),
        "test_write::test_what_is_written_has_left_when_write_returns[5]": fails(
            "less than 64 KiB is kept until the end of the turn; a process that ends before that loses it"
        ),
        "test_log_lines::test_a_connections_life[(setattr(protocol, 'connection_lost', broken), t.close(), "
        "await asyncio.sleep(0.05))-plain]": fails(NAMES_THE_METHOD),
        "test_log_lines::test_a_connections_life[(setattr(protocol, 'connection_lost', broken), t.close(), "
        "await asyncio.sleep(0.05))-debug]": fails(NAMES_THE_METHOD),
        "test_bad_transport_calls::test_streams[loop.sock_recv(t.get_extra_info('socket'), 1)]": fails(
            "the error says that the descriptor is a transport's"
        ),
        "test_bad_transport_calls::test_streams[t.writelines(None)]": fails(NO_ITERABLE),
        "test_bad_transport_calls::test_datagrams[c.write(b'x')]": fails(SAYS_WHY_NOT),
        "test_bad_transport_calls::test_pipes[w.pause_reading()]": fails(SAYS_WHY_NOT),
        "test_bad_transport_calls::test_pipes[w.write('text')]": fails(NO_ASSERTION),
        "test_bad_transport_calls::test_pipes[w.write(None)]": fails(NO_ASSERTION),
        "test_bad_transport_calls::test_pipes[w.write(1)]": fails(NO_ASSERTION),
        "test_bad_transport_calls::test_pipes[(w.close(), w.write('text'))]": fails(NO_ASSERTION),
        "test_bad_transport_calls::test_pipes[w.writelines(None)]": fails(NO_ITERABLE),
        "test_bad_transport_calls::test_pipes[w.writelines('text')]": fails(NO_ITERABLE),
        "test_bad_transport_calls::test_pipes[w.writelines([b'one', None])]": fails(NO_ITERABLE),
        "test_bad_transport_calls::test_pipes[(w.abort(), w.write(b'late'), w.abort(), w.is_closing())]": fails(
            "aborting twice is reported by nobody"
        ),
        "test_bad_transport_calls::test_subprocesses[(p := await asyncio.create_subprocess_exec('cat', stdin=-1), "
        "await p.communicate('text'))]": fails(NO_ASSERTION),
        "test_bad_transport_calls::test_subprocesses[(p := await asyncio.create_subprocess_exec('cat', stdin=-1), "
        "p.stdin.write('text'))]": fails(NO_ASSERTION),
    },
}

for runs in ("one thread", "another thread"):
    for test in ("test_receiving_datagrams", "test_datagrams_that_wait_for_room"):
        DIFFERENCES["uvloop"][f"test_several_runs::{test}[{runs}-netlink]"] = skipped(NO_UNIX_DATAGRAMS)

for runs in ("one thread-client", "one thread-server", "another thread-client", "another thread-server"):
    test = "test_the_end_of_writing_is_told_by_a_loop_that_stops"
    DIFFERENCES["uvloop"][f"test_several_runs::{test}[{runs}-when it has stopped]"] = skipped(
        "the peer hears of it when the loop runs again"
    )

if sys.version_info >= (3, 12):
    DIFFERENCES["asyncio"]["test_reentrancy::test_what_pause_writing_writes_comes_after_all_of_writelines"] = skipped(
        "writelines does not pause the protocol, which the test waits for"
    )

if (3, 12) <= sys.version_info < (3, 14):
    DIFFERENCES["netloop"]["test_bad_transport_calls::test_streams[t.writelines(iter(()))]"] = fails(NO_ASSERTION)
    DIFFERENCES["netloop"][
        "test_bad_transport_calls::test_streams[(t.close(), t.write(b'late'), t.writelines([b'late']), t.write_eof())]"
    ] = fails("writelines() on a transport that is closed is ignored as write() is")

if sys.version_info < (3, 12):
    DIFFERENCES["asyncio"]["test_subprocess::test_a_child_whose_status_somebody_else_takes"] = unreliable(
        "a thread is faster to take it"
    )
    DIFFERENCES["asyncio"].update(dict.fromkeys(TAKEN_STATUS, unreliable("a thread is faster to take it")))
    for call in (
        "t.writelines(1)",
        "t.writelines('text')",
        "t.writelines(['text'])",
        "t.writelines([b'one', None])",
        "t.writelines(b'bytes')",
    ):
        DIFFERENCES["netloop"][f"test_bad_transport_calls::test_streams[{call}]"] = fails(NO_ITERABLE)
    DIFFERENCES["netloop"]["test_bad_transport_calls::test_datagrams[isinstance(c, asyncio.DatagramTransport)]"] = (
        fails("it is one, as from Python 3.12 on asyncio's are")
    )
    DIFFERENCES["uvloop"]["test_signatures::test_methods_of_a_loop[shutdown_default_executor]"] = fails(
        "it takes the timeout of later versions"
    )
    DIFFERENCES["asyncio"]["test_datagram::test_the_transport_is_a_datagram_transport"] = fails(
        "transports only look like asyncio.DatagramTransport before Python 3.12"
    )
    del DIFFERENCES["asyncio"]["test_write::test_a_buffer_may_be_reused_after_write[5000000]"]

if sys.version_info >= (3, 13):
    DIFFERENCES["uvloop"]["test_signatures::test_methods_of_a_loop[create_server]"] = fails("no keep_alive")
    DIFFERENCES["netloop"]["test_bad_connections::test_unix_sockets[loop.create_unix_server(Protocol, sock=unix)]"] = (
        fails("a socket without a name is refused by the kernel, not by an IndexError")
    )

if sys.version_info < (3, 13):
    DIFFERENCES["asyncio"]["test_cancelling::test_shutdown_default_executor"] = skipped(
        "the loop is blocked until the threads have ended"
    )
    DIFFERENCES["asyncio"]["test_unix::test_cleaning_up_as_asked"] = fails("no cleanup_socket before Python 3.13")

if sys.version_info >= (3, 13):
    for test in (
        "test_datagram::test_a_full_receiver_that_is_connected",
        "test_datagram::test_a_full_receiver_that_is_not_connected",
        "test_foreign_datagrams::test_a_peer_that_does_not_read_pauses_the_sender",
    ):
        DIFFERENCES["asyncio"][test] = skipped(
            "what a datagram's header counts for in the write buffer is never taken off again"
        )
    DIFFERENCES["uvloop"]["test_datagram::test_sending_an_empty_datagram"] = fails("empty datagrams are not sent")
    for test in (
        "test_an_eager_task_starts_at_once",
        "test_gather_and_task_groups_with_eager_tasks",
        "test_an_exception_in_an_eager_step",
    ):
        DIFFERENCES["uvloop"][f"test_tasks::{test}"] = skipped("the factory is handed an argument it does not take")

if sys.version_info < (3, 14):
    DIFFERENCES["asyncio"]["test_flow_control::test_closing_when_all_was_sent_ends_once"] = fails(
        "the end is come to a second time, and fails"
    )
    for target in ("a connection", "a socket"):
        DIFFERENCES["asyncio"][
            f"test_sendfile::test_where_the_file_stands_when_there_was_nothing_to_send[a file-{target}]"
        ] = fails("the position of a file of which nothing was sent is left as it was")
    DIFFERENCES["asyncio"]["test_client::test_the_error_of_a_race_that_nobody_wins_is_held_by_nothing_else"] = fails(
        "the error is in a list that its own traceback keeps"
    )

if sys.version_info >= (3, 14):
    for call in ("t.write('text')", "t.write(None)", "t.write(1)", "t.write([b'list'])", "t.write(object())"):
        DIFFERENCES["netloop"][f"test_bad_transport_calls::test_streams[{call}]"] = fails(EARLIER_WORDS)
    for call in ("(t.write_eof(), t.write('text'))", "(t.close(), t.write('text'))"):
        DIFFERENCES["netloop"][f"test_bad_transport_calls::test_streams[{call}]"] = fails(EARLIER_WORDS)
    DIFFERENCES["netloop"]["test_bad_transport_calls::test_streams[t.writelines([b'one', None])]"] = fails(
        "what is no bytes is refused, also where asyncio takes it for empty"
    )
    DIFFERENCES["uvloop"]["test_threads::test_cancelling_waits_for_a_callback_that_another_thread_is_calling"] = fails(
        "cancelling does not wait"
    )

if sys.version_info < (3, 15):
    DIFFERENCES["asyncio"]["test_context::test_who_resumes_reading_leaves_its_context_out_of_the_callbacks"] = fails(
        "callbacks run in the context in which reading was resumed"
    )

if sys.version_info >= (3, 15):
    DIFFERENCES["uvloop"]["test_context::test_the_context_of_a_server_that_starts_later"] = fails(
        "connections run in the context of start_serving()"
    )


def difference_of(loop_name: str, module: str, function: str, test: str) -> Difference | None:
    """The entry for a test, looked up with its parameters first; ``test`` is the name with its parameters."""
    table = DIFFERENCES.get(loop_name, {})
    parameters = test.partition("[")[2].removesuffix("]")
    others = "-".join(part for part in parameters.split("-") if part != loop_name)
    return table.get(f"{module}::{function}[{others}]") or table.get(f"{module}::{function}")
