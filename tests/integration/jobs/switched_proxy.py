"""A TCP proxy that can be switched off, or accept connections and never answer."""

from __future__ import annotations

import contextlib
import socket
import threading


class SwitchedProxy:
    """Forward 127.0.0.1:port to a target. `mode` is "on", "off" (closes at once) or "hang"."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.mode = "on"
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
                if self.mode == "on":
                    target = socket.create_connection(self._target)
                    self._open.append(target)
                    for one, other in ((client, target), (target, client)):
                        threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
