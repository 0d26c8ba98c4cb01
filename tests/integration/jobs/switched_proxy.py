"""A TCP proxy that can be switched off, be slow, refuse each request, or accept connections and never answer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

SLOW_BYTES, SLOW_SECONDS = 4096, 0.05  # at a time, and the pause after them: 80 kB/s
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class SwitchedProxy:
    """Forward 127.0.0.1:port to a target. `mode` is "on", "slow", "off" (closes at once), "503" or "hang"."""

    def __init__(self, host: str, port: int, mode: str = "on") -> None:
        self._target = (host, port)
        self.mode = mode
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def switch(self, mode: str) -> None:
        """Change the mode; open connections are cut."""
        self.mode = mode
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        self.switch("off")
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.mode == "off":
                    client.close()
                    continue
                self._open.append(client)
                if self.mode == "503":
                    threading.Thread(target=self._refuse, args=(client,), daemon=True).start()
                if self.mode in ("on", "slow"):
                    target = socket.create_connection(self._target)
                    self._open.append(target)
                    for one, other in ((client, target), (target, client)):
                        threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _refuse(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(BUSY)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):  # a body that is still sent must not meet a closed connection
                pass

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(SLOW_BYTES if self.mode == "slow" else 65536):
                sink.sendall(data)
                if self.mode == "slow":
                    time.sleep(SLOW_SECONDS)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
