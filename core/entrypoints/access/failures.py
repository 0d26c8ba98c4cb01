"""How often an address may try before it has to wait. What this module does not know: what was tried."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST, SECONDS = 5, 60.0  # wrong tries, in this time
_ADDRESSES = 10_000  # that are remembered; the one that failed longest ago is forgotten first


class Failures:
    """Wrong tries by address; an IPv6 network of 64 bits, which one person has whole, counts as one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        tries = self._fresh(_network(address))
        return max(0.0, tries[-MOST] + SECONDS - self._clock()) if len(tries) >= MOST else 0.0

    def add(self, address: str) -> None:
        """A wrong try."""
        name = _network(address)
        self._tries[name] = [*self._fresh(name), self._clock()][-MOST:]
        self._tries.move_to_end(name)
        while len(self._tries) > _ADDRESSES:
            self._tries.popitem(last=False)

    def _fresh(self, name: str) -> list[float]:
        return [when for when in self._tries.get(name, ()) if when > self._clock() - SECONDS]


def _network(address: str) -> str:
    try:
        known = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return address
    if known.version == 4:
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network(f"{known}/64", strict=False))
