"""Hash passwords with scrypt and a salt of their own, and check them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import unicodedata

LOG_N, R, P = 15, 8, 3  # OWASP's advice for scrypt: 32 MB and some tenths of a second for each try
_SALT_BYTES, _HASH_BYTES = 16, 32
_MEMORY = 64 * 1024 * 1024  # bytes that OpenSSL may take; it needs 128 * N * R and a little
# What a password is held against when there is no such user, so that the answer takes as long as for a real one.
NOBODY = f"scrypt${LOG_N}${R}${P}${'A' * 22}==${'A' * 43}="


def hashed(password: str) -> str:
    """Return the hash of a password as stored: "scrypt$15$8$3$<salt>$<hash>"."""
    salt = os.urandom(_SALT_BYTES)
    return "$".join(["scrypt", f"{LOG_N}", f"{R}", f"{P}", _text(salt), _text(_scrypt(password, salt, LOG_N, R, P))])


def matches(password: str, stored: str) -> bool:
    """Return True if the password matches `stored`, in constant time. False for an invalid `stored`."""
    try:
        kind, log_n, r, p, salt, wanted = stored.split("$")
        found = _scrypt(password, base64.b64decode(salt), int(log_n), int(r), int(p))
        return kind == "scrypt" and hmac.compare_digest(found, base64.b64decode(wanted))
    except ValueError:
        return False


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    words = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")  # keyboards differ in their accents
    return hashlib.scrypt(words, salt=salt, n=2**log_n, r=r, p=p, maxmem=_MEMORY, dklen=_HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
