"""Count wrong keys by address and name, and say how long a caller has to wait."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST, SECONDS = 5, 60.0  # wrong keys for one name from one address, in this time
MOST_OF_ADDRESS = 25  # for all names together
_REMEMBERED = 10_000  # addresses, and wrong keys; the oldest is forgotten first


class Failures:
    """Failed logins by address. A /64 network of IPv6, which one person has whole, counts as one address.

    The same wrong key shown again is no new guess: a program with an old key must not lock out its neighbours.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._wrong: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def wait(self, address: str, name: str = "") -> float:
        """Return the seconds until this address may try another key for `name`; 0 when it may now."""
        network = _network(address)
        return max(self._left((network, name), MOST), self._left((network, "*"), MOST_OF_ADDRESS))

    def is_known(self, address: str, key: bytes) -> bool:
        """Return True for a key (its digest) that this address has shown before and that was wrong."""
        return (_network(address), key) in self._wrong

    def add(self, address: str, name: str = "", key: bytes = b"") -> None:
        """Count a wrong key."""
        network = _network(address)
        for name_counted, most in ((name, MOST), ("*", MOST_OF_ADDRESS)):
            counted = (network, name_counted)
            self._tries[counted] = [*self._fresh(counted), self._clock()][-most:]
            self._tries.move_to_end(counted)
        if key:
            self._wrong[(network, key)] = None
        for remembered in (self._tries, self._wrong):
            while len(remembered) > _REMEMBERED:
                remembered.popitem(last=False)

    def _left(self, counted: tuple[str, str], most: int) -> float:
        tries = self._fresh(counted)
        return max(0.0, tries[-most] + SECONDS - self._clock()) if len(tries) >= most else 0.0

    def _fresh(self, counted: tuple[str, str]) -> list[float]:
        return [when for when in self._tries.get(counted, ()) if when > self._clock() - SECONDS]


def _network(address: str) -> str:
    try:
        known = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return address
    if known.version == 4:
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network(f"{known}/64", strict=False))
