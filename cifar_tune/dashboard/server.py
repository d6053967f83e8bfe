"""Serves the application over HTTP, within bounds: connections, bytes, seconds, threads."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from typing import Any
from weakref import WeakKeyDictionary
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from cifar_tune.errors import InputError

MAX_BODY_BYTES = 16 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
MAX_BODIES_BYTES = 16 * MAX_BODY_BYTES
"""Of requests that are being received, all together; they are kept on disk."""
MAX_CONNECTIONS = 2048
THREADS = 4
IDLE_SECONDS = 30
MAX_REQUEST_SECONDS = 120
"""Of one request's sending."""
LOOK_SECONDS = 5
WAKE_SECONDS = 0.2
"""How often a server that has nothing to do looks whether it is to end."""
LEAVE_SECONDS = 1
"""How long requests that are being answered are waited for at the end."""
_OTHER_FILES = 256
"""That the process may have open besides connections."""


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server, which also ends connections that it would keep for ever.

    It listens from the start; its clients are served from ``run`` until ``stop``.
    """

    def __init__(self, app: WSGIApplication, listening: socket.socket, url: str) -> None:
        settings = Adjustments(
            sockets=[listening],
            threads=THREADS,
            connection_limit=_allow_connections(),
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=LOOK_SECONDS,
            max_request_body_size=MAX_BODY_BYTES,
            max_request_header_size=MAX_HEADER_BYTES,
            asyncore_use_poll=True,
            log_socket_errors=False,
            ident=None,
        )
        place = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(app, _sock=listening, adj=settings, bind_socket=False, sockinfo=place)
        self.url = url
        self._is_stopping = False
        self._first_seen: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        """Since when requests are being received."""

    def run(self) -> None:
        """Serve until ``stop`` is called from a signal handler or another thread."""
        try:
            while not self._is_stopping:
                wasyncore.loop(timeout=WAKE_SECONDS, use_poll=True, map=self._map, count=1)
        finally:
            self.task_dispatcher.shutdown(timeout=LEAVE_SECONDS)
            wasyncore.close_all(self._map, ignore_all=True)

    def stop(self) -> None:
        """End ``run`` within a second or two."""
        self._is_stopping = True

    def maintenance(self, now: float) -> None:
        """Close the connections that are not to go on; waitress calls it now and then."""
        super().maintenance(now)  # those that are idle
        requests = {channel: channel.request for channel in self.active_channels.values()}
        received = sum(request.body_bytes_received for request in requests.values() if request)
        for channel, request in requests.items():
            since = self._first_seen.setdefault(request, now) if request else now
            takes_nothing = channel.total_outbufs_len and channel.last_activity < now - IDLE_SECONDS
            is_slow = since < now - MAX_REQUEST_SECONDS
            is_too_much = request and received > MAX_BODIES_BYTES
            if takes_nothing or is_slow or is_too_much:
                channel.will_close = True


def open_server(app: WSGIApplication, host: str, port: int) -> Server:
    """Listen on an address; clients wait until the server runs. Port 0 takes any that is free.

    Raises:
        InputError: The address is not this machine's, or the port is taken.
    """
    listening = _listen(host, port)
    logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns of what is bounded here
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{name}]" if ":" in name else name
    return Server(app, listening, f"http://{shown}:{listening.getsockname()[1]}/")


def _listen(host: str, port: int) -> socket.socket:
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` has two addresses, and 127.0.0.1 is the one that every client tries.
        family, kind, protocol, _, address = min(
            places, key=lambda place: place[0] != socket.AF_INET
        )
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host}: is not an address of this machine") from error
    try:
        if os.name == "posix":  # else a port stays taken for a minute after its server has ended
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        raise InputError(_describe(error, host, port)) from error
    return listening


def _describe(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: another program listens there; --port 0 takes one that is free"
    if error.errno == errno.EACCES:
        return f"--port {port}: not allowed for this user; expected 1024 or more"
    return f"--host {host}: is not an address of this machine"


def _allow_connections() -> int:
    """Return how many connections there may be, after allowing this process files for them."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource

    # A request and an answer of some length are each kept in a file.
    wanted = 2 * MAX_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(min(MAX_CONNECTIONS, (soft - _OTHER_FILES) // 2), 16)
