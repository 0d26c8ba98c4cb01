"""Sign image files with C2PA content credentials: that a model made the image, and whether the file was changed since.

Needs `c2pa-python` (see requirements-extras.txt). The manifest has one action, `c2pa.created`, with IPTC's digital source type; it
has no prompt, no thumbnail and no name of a user. The certificate lives as long as this process: viewers show the credentials
as valid, by an issuer they don't know.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from core.i18n import localize

KEY = "output.content_credentials"


def problem() -> Mapping[str, str] | None:
    """Return why files can't be signed; None if they can."""
    return None if find_spec("c2pa") is not None else localize("storage.content_credentials.missing")


def sign(data: bytes, format: str, title: str, source_type: str) -> bytes:
    """Return the encoded image with credentials; its pixels and its other metadata stay as they are.

    `format` is png, jpeg or webp, `source_type` the address of one of IPTC's digital source types. Raises ValueError when the file
    can't be signed, ImportError without c2pa-python.
    """
    import c2pa  # takes 0.2 s, for an option that few use

    action = {"action": "c2pa.created", "digitalSourceType": source_type}
    manifest = {
        "claim_generator_info": [{"name": "Z Darkroom"}],
        "title": title,
        "format": f"image/{format}",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    context = c2pa.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    signed = BytesIO()
    try:
        with c2pa.Builder(manifest, context) as builder, c2pa.Signer.from_info(_signer()) as signer:
            builder.sign(signer, f"image/{format}", BytesIO(data), signed)
    except c2pa.C2paError as error:
        raise ValueError(str(error)) from error
    return signed.getvalue()


@cache
def _signer() -> Any:
    """Return the key and the certificate that this process signs with."""
    import c2pa

    from core.storage.signing_certificate import new_certificate

    return c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, *new_certificate(), None)
