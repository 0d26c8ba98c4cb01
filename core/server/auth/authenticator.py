"""Authenticate callers by a token or a user's password, and keep the sessions of browsers.

A session is a signed cookie with the name, a stamp of the password or token, and an id: another password ends it, and so
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlencode

from itsdangerous import BadSignature, URLSafeTimedSerializer

from core.config.loader import Settings
from core.server.auth.users import ADMIN, USER, ClosedSessions, Role, Users, session_secret
from core.storage import passwords

_TOKEN = re.compile(r"[!-~]{16,}")  # printable ASCII, no space
_NO_TOKEN = re.compile(r"[<>:]")  # the marks of an example, and what separates NAME:PASSWORD
_REMEMBERED = 1000
LINK_SECONDS = 3600  # a signed address is good for


@dataclass(frozen=True)
class Visitor:
    """An authenticated caller. `name` is "" for the holder of the token, who is admin."""

    name: str = ""
    role: Role = ADMIN


def is_strong(token: str) -> bool:
    """Return True for a token of at least 16 characters that a header can carry."""
    return bool(_TOKEN.fullmatch(token)) and not _NO_TOKEN.search(token)


class Keys:
    """Checks tokens, passwords and sessions. Thread-safe; some methods take tenths of a second (see each)."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.access.token
        self._directory: Path = settings.output_directory
        self._seconds = int(3600 * settings.access.session_hours)
        self.users = Users(self._directory)
        self._proven: OrderedDict[bytes, str] = OrderedDict()
        self._closed = ClosedSessions(self._directory)

    @property
    def guarded(self) -> bool:
        """Return True if there is a token or a user. Raises UsersFileError when the users can't be read."""
        return bool(self._token) or bool(self.users.hashes())

    @property
    def has_users(self) -> bool:
        """Return True if there is a user with a password."""
        return bool(self.users.hashes())

    @property
    def session_seconds(self) -> int:
        """Return the duration of a session in seconds."""
        return self._seconds

    # -- keys --------------------------------------------------------------------------------------------------------

    def known(self, name: str, password: str) -> Visitor | None:
        """Return the holder of the token (with any name), or a user whose password was checked before. Fast."""
        if self._token and hmac.compare_digest(password.encode("utf-8", "replace"), self._token.encode()):
            return Visitor()
        stored = self.users.hashes().get(name, "")
        return self._visitor(name) if stored and self._proof(name, password, stored) in self._proven else None

    def _visitor(self, name: str) -> Visitor:
        """Return the holder of the token, or a user with the present role."""
        account = self.users.accounts().get(name) if name else None
        return Visitor(name, account.role if account else ADMIN if not name else USER)

    def check(self, name: str, password: str) -> Visitor | None:
        """Return the visitor, hashing the password if needed: takes tenths of a second, also for unknown users."""
        if (visitor := self.known(name, password)) is not None:
            return visitor
        hashes = self.users.hashes()
        stored = hashes.get(name)
        if not hashes or not passwords.matches(password, stored or passwords.NOBODY) or stored is None:
            return None
        self._proven[self._proof(name, password, stored)] = name
        while len(self._proven) > _REMEMBERED:
            self._proven.popitem(last=False)
        return self._visitor(name)

    def digest(self, name: str, password: str) -> bytes:
        """Return what stands for a key that was shown, as long as the user's password stays the same."""
        return self._proof(name, password, self.users.hashes().get(name, ""))

    def _proof(self, name: str, password: str, stored: str) -> bytes:
        words = "\0".join((name, password, stored)).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, words, "sha256")

    # -- signed addresses --------------------------------------------------------------------------------------------

    def sign(self, path: str) -> str:
        """Return the address of `path` that is answered without a key for an hour, as OpenAI's image addresses are."""
        expires = int(time.time()) + LINK_SECONDS
        return f"{path}?{urlencode({'expires': expires, 'signature': self._signature(path, expires)})}"

    def is_signed(self, path: str, query: Mapping[str, str]) -> bool:
        """Return True for an address that `sign` made and that has not expired."""
        try:
            expires = int(query.get("expires", ""))
        except ValueError:
            return False
        shown = query.get("signature", "").encode("utf-8", "replace")
        return time.time() < expires and hmac.compare_digest(shown, self._signature(path, expires).encode())

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(
            self._secret, f"address\0{path}\0{expires}".encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()

    # -- sessions ----------------------------------------------------------------------------------------------------

    def open_session(self, visitor: Visitor) -> str:
        """Return the cookie of a new session."""
        ticket = {"name": visitor.name, "stamp": self._stamp(visitor.name), "id": secrets.token_hex(8)}
        return str(self._signer.dumps(ticket))

    def visitor_of(self, session: str) -> Visitor | None:
        """Return the visitor of a session; None if it is forged, expired, closed, or its user or password is gone."""
        ticket = self._ticket(session)
        if ticket is None or ticket["id"] in self._closed:
            return None
        wanted = self._stamp(ticket["name"])
        valid = bool(wanted) and hmac.compare_digest(str(ticket["stamp"]), wanted)
        return self._visitor(str(ticket["name"])) if valid else None

    def close_session(self, session: str) -> None:
        """Log out: the cookie is worth nothing from now on, also after a restart."""
        ticket = self._ticket(session)
        if ticket is not None:
            self._closed.add(str(ticket["id"]), time.time() + self._seconds)

    def _ticket(self, session: str) -> dict[str, str] | None:
        try:
            ticket: dict[str, str] = self._signer.loads(session, max_age=self._seconds)
        except BadSignature:  # which is also what a session too old raises
            return None
        return ticket

    def _stamp(self, name: str) -> str:
        """Changes with the password, the token, or the user's generation; "" where the name opens nothing (any more)."""
        account = self.users.accounts().get(name) if name else None
        key = self._token if not name else f"{account.hash} {account.generation}" if account else ""
        return hmac.new(self._secret, key.encode(), hashlib.sha256).hexdigest()[:24] if key else ""

    @cached_property
    def _secret(self) -> bytes:
        return session_secret(self._directory)

    @cached_property
    def _signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            self._secret, salt="session", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
        )


def read_authorization(value: str) -> tuple[str, str] | None:
    """Return (name, password) of an Authorization header: Basic, Bearer TOKEN, or Bearer NAME:PASSWORD; else None."""
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        name, colon, password = _utf8(rest).partition(":")
        return (name, password) if colon else ("", rest)
    if scheme.lower() == "basic":
        try:
            name, colon, password = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, ValueError):
            return None
        return (name, password) if colon else None
    return None


def _utf8(text: str) -> str:
    """Headers are read as Latin-1; clients write names in UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except ValueError:
        return text


MOST, SECONDS = 5, 60.0  # wrong keys for one name from one address, in this time
MOST_OF_ADDRESS = 25  # for all names together
_RATE_LIMIT_REMEMBERED = 10_000  # addresses, and wrong keys; the oldest is forgotten first


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
            while len(remembered) > _RATE_LIMIT_REMEMBERED:
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
