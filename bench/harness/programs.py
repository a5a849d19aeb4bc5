"""The kinds of rows: which server program serves each, how it is driven, and what it is called."""

from dataclasses import dataclass

#: What ``Program.shape`` may be: what a row of this kind has to say beside its name.
SIZED, COUNTED, BARE = "connections and size", "connections", "nothing"
#: The C servers that echo.
ECHO_IN_C = ("c-uring", "c-epoll")


@dataclass(frozen=True)
class Program:
    """One kind of row.

    ``server`` is a file in ``servers/``; ``driver`` says who drives it: ``load`` (the C load generator), ``wrk``,
    ``http3`` (aioquic's client), ``idle`` (connections that only exist), ``cold`` (the C load generator, from before
    the first connection on), ``herd`` (clients that all connect at once) or ``micro`` (nobody: the program measures its
    own loop). ``flags`` are for the load generator, which ``load`` names, and ``words`` for the server. ``c_servers``
    names the C servers that can serve the kind too, ``c_words`` is what they are told. ``needs`` are Python packages.
    ``shares_cpu`` says that the load generator runs on the server's CPU. ``figure`` is what rows of the kind are
    compared by, and ``seconds`` the shortest window that shows it.
    """

    server: str
    title: str
    shape: str = SIZED
    driver: str = "load"
    flags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    load: str = "load"
    c_servers: tuple[str, ...] = ()
    c_words: tuple[str, ...] = ()
    shares_cpu: bool = False
    needs: tuple[str, ...] = ()
    figure: str = "cpu_us"
    seconds: float = 0.0


#: The C server for datagrams.
_PACKETS = ("c-packets",)


def _packets(server: str, title: str, way: str) -> Program:
    """Return a kind in which packets go one way."""
    return Program(
        server,
        title,
        flags=("--same-cpu",),
        load="packet_load",
        c_servers=_PACKETS,
        c_words=(way,),
        shares_cpu=True,
    )


def _herd(busy: int, backlog: int, residents: int = 0) -> Program:
    """Return a kind in which clients connect at once to a server that works so many microseconds for each."""
    title = f"herd, {busy / 1000:g} ms each"
    return Program(
        "herd.py",
        f"{title}, among {residents}" if residents else f"{title}, backlog {backlog}",
        COUNTED,
        driver="herd",
        load="herd",
        flags=("--residents", str(residents)),
        words=("--busy", str(busy), "--backlog", str(backlog)),
        figure="last_ms",
    )


#: Rounds of an empty loop that take CPython some 20 µs. Their number is fixed, and not the time, so that every start of
#: every server has the same to do.
_WORK_ROUNDS = 2000

PROGRAMS = {
    "protocol": Program("echo_protocol.py", "protocol echo", c_servers=ECHO_IN_C),
    "work": Program("echo_work.py", "echo, 20 µs of Python", words=("--work", str(_WORK_ROUNDS))),
    "buffered": Program("echo_buffered.py", "buffered-protocol echo"),
    "streams": Program("echo_streams.py", "streams echo"),
    "sock": Program("echo_sock.py", "sock_* echo"),
    "upload": Program("upload.py", "upload"),
    "upload_buffered": Program("upload_buffered.py", "upload, buffered"),
    "upload_leases": Program("upload_leases.py", "upload, leases"),
    "ingest": Program("ingest.py", "upload to own memory"),
    "relay": Program("relay_copies.py", "relay", c_servers=("c-uring",)),
    "relay_leases": Program("relay_leases.py", "relay, leases", c_servers=("c-uring",)),
    "leases": Program("echo_leases.py", "echo by leases", c_servers=ECHO_IN_C),
    "download": Program("download.py", "download"),
    "churn": Program("echo_protocol.py", "connect, request, close", flags=("--churn",), c_servers=ECHO_IN_C),
    "broadcast": Program("broadcast.py", "broadcast", flags=("--broadcast",)),
    "udp": Program("echo_udp.py", "UDP echo", flags=("--udp",), c_servers=_PACKETS, c_words=("echo",)),
    "packet_send": _packets("packet_sender.py", "UDP packets sent", "send"),
    "packet_receive": _packets("packet_taker.py", "UDP packets received", "receive"),
    "aiohttp": Program("aiohttp_app.py", "aiohttp hello", COUNTED, flags=("--http",), needs=("aiohttp",)),
    "saturate": Program(
        "aiohttp_app.py",
        "aiohttp hello, all at once",
        COUNTED,
        driver="cold",
        flags=("--http", "--cold"),
        needs=("aiohttp",),
        seconds=2.0,
    ),
    "herd": _herd(100, 128),
    "herd_deep": _herd(100, 1024),
    "herd_long": _herd(500, 128),
    "herd_deep_long": _herd(500, 1024),
    "herd_busy": _herd(100, 1024, residents=10),
    "wrk": Program("aiohttp_app.py", "aiohttp hello, by wrk", COUNTED, driver="wrk", needs=("aiohttp",)),
    "json": Program("aiohttp_app.py", "aiohttp JSON POST", COUNTED, flags=("--http",), needs=("aiohttp",)),
    "static": Program("aiohttp_app.py", "aiohttp static file", flags=("--http",), needs=("aiohttp",)),
    "tls": Program("aiohttp_app.py", "aiohttp TLS hello", COUNTED, flags=("--http", "--tls"), needs=("aiohttp",)),
    "websocket": Program("aiohttp_app.py", "aiohttp websocket echo", needs=("aiohttp",)),
    "wsbroadcast": Program("aiohttp_app.py", "aiohttp websocket broadcast", flags=("--broadcast",), needs=("aiohttp",)),
    "fastapi": Program("fastapi_app.py", "FastAPI hello", COUNTED, flags=("--http",), needs=("fastapi", "uvicorn")),
    "http3": Program("http3_download.py", "aioquic HTTP/3 download", driver="http3", needs=("aioquic",)),
    "idle": Program(
        "echo_protocol.py",
        "idle connections",
        COUNTED,
        driver="idle",
        flags=("--in-turn",),
        c_servers=ECHO_IN_C,
        figure="connection_kib",
    ),
    "call_soon": Program("micro.py", "call_soon", BARE, driver="micro"),
    "call_soon_threadsafe": Program("micro.py", "call_soon_threadsafe", BARE, driver="micro"),
    "call_later": Program("micro.py", "call_later and cancel", BARE, driver="micro"),
    "task_switch": Program("micro.py", "task switch", BARE, driver="micro"),
    "subprocess": Program("micro.py", "child process", BARE, driver="micro"),
}
