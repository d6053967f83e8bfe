"""Serves the application over HTTP, within bounds: connections, bytes, seconds, threads."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from cifar_tune.errors import InputError

BODY_BYTES_MOST = 16 * 2**20
HEADER_BYTES_MOST = 64 * 2**10
BODIES_BYTES_MOST = 16 * BODY_BYTES_MOST
"""Of requests that are being received, all together; they are kept on disk."""
CONNECTIONS_MOST = 2048
THREADS = 4
IDLE_SECONDS = 30
REQUEST_SECONDS_MOST = 120
"""Of one request's sending."""
LOOK_SECONDS = 5
WAKE_SECONDS = 0.2
"""How often a server that has nothing to do looks whether it is to end."""
LEAVE_SECONDS = 1
"""How long requests that are being answered are waited for at the end."""
_OTHER_FILES = 256
"""That the process may have open besides connections."""


class Server:
    """A server that listens; its clients are served from ``run`` until ``close``."""

    def __init__(self, listener: _Listener, sockets: dict[int, Any], url: str) -> None:
        self.url = url
        self._listener = listener
        self._sockets = sockets
        self._is_running = False
        self._is_closing = False

    def run(self) -> None:
        """Serve until ``close`` is called from a signal handler or another thread."""
        self._is_running = True
        try:
            while not self._is_closing:
                wasyncore.loop(timeout=WAKE_SECONDS, use_poll=True, map=self._sockets, count=1)
        finally:
            self._leave()

    def close(self) -> None:
        """End ``run`` within a second or two; without it, stop listening at once."""
        if self._is_closing:
            return
        self._is_closing = True
        if not self._is_running:
            self._leave()

    def _leave(self) -> None:
        self._is_running = False
        self._listener.task_dispatcher.shutdown(timeout=LEAVE_SECONDS)
        wasyncore.close_all(self._sockets, ignore_all=True)


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server; it also ends connections that it would keep for ever."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self._begun: dict[int, tuple[Any, float]] = {}
        """Requests that are being received, by connection, and since when."""

    def maintenance(self, now: float) -> None:
        super().maintenance(now)  # those that are idle
        receiving = {key: one.request for key, one in self.active_channels.items() if one.request}
        known = self._begun
        self._begun = {
            key: known[key] if key in known and known[key][0] is request else (request, now)
            for key, request in receiving.items()
        }
        received = sum(request.body_bytes_received for request in receiving.values())
        for key, channel in self.active_channels.items():
            since = self._begun[key][1] if key in self._begun else now
            takes_nothing = channel.total_outbufs_len and channel.last_activity < now - IDLE_SECONDS
            is_slow = since < now - REQUEST_SECONDS_MOST
            is_too_much = received > BODIES_BYTES_MOST and key in receiving
            if takes_nothing or is_slow or is_too_much:
                channel.will_close = True


def open_server(app: WSGIApplication, host: str, port: int) -> Server:
    """Listen on an address; clients wait until the server runs.

    Args:
        port: 0 takes any that is free.

    Raises:
        InputError: the address is not this machine's, or the port is taken.
    """
    listening = _listen(host, port)
    logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns of what is bounded here
    settings = Adjustments(
        sockets=[listening],
        threads=THREADS,
        connection_limit=_connections(),
        channel_timeout=IDLE_SECONDS,
        cleanup_interval=LOOK_SECONDS,
        max_request_body_size=BODY_BYTES_MOST,
        max_request_header_size=HEADER_BYTES_MOST,
        asyncore_use_poll=True,
        log_socket_errors=False,
        ident=None,
    )
    sockets: dict[int, Any] = {}
    place = (listening.family, listening.type, listening.proto, listening.getsockname())
    listener = _Listener(
        app, sockets, _sock=listening, adj=settings, bind_socket=False, sockinfo=place
    )
    return Server(listener, sockets, f"http://{_shown(host)}:{listening.getsockname()[1]}/")


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` has two addresses, and 127.0.0.1 is the one that every client tries.
        family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
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
        raise InputError(_say(error, host, port)) from error
    return listening


def _say(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: another program listens there; --port 0 takes one that is free"
    if error.errno == errno.EACCES:
        return f"--port {port}: not allowed for this user; expected 1024 or more"
    return f"--host {host}: is not an address of this machine"


def _shown(host: str) -> str:
    """A name or address as a URL has it; for all addresses of this machine, its name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _connections() -> int:
    """How many connections there may be; the process is allowed files for them if it can be."""
    if sys.platform == "win32":
        return CONNECTIONS_MOST
    import resource

    # A request and an answer of some length are each kept in a file.
    wanted = 2 * CONNECTIONS_MOST + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MOST
    return max(min(CONNECTIONS_MOST, (soft - _OTHER_FILES) // 2), 16)
