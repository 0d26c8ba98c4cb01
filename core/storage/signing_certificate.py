"""Make a key and a certificate that C2PA allows for signing: issued by an authority, as one that signed itself is not allowed.

The extensions are those of the C2PA Technical Specification 2.2, 14.5 "X.509 Certificates". The authority is made here, too, and
is in no list of trust. Neither key is written to a file.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY, OWN = "Z Darkroom local authority", "Z Darkroom on this machine"
VALID_DAYS = 365


def new_certificate() -> tuple[bytes, bytes]:
    """Return (chain of certificates, private key for ES256), both as PEM."""
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = (_certificate(OWN, key.public_key(), root, issues=False), _certificate(AUTHORITY, root.public_key(), root, issues=True))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"".join(one.public_bytes(Encoding.PEM) for one in chain), private


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, root: ec.EllipticCurvePrivateKey, issues: bool
) -> x509.Certificate:
    """Return a certificate that `root` signed; with `issues` it is the authority's, else one that signs files."""
    now = datetime.now(UTC)
    use = x509.KeyUsage(
        digital_signature=not issues, key_cert_sign=issues, crl_sign=issues, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(AUTHORITY))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=issues, path_length=None), critical=True)
        .add_extension(use, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
    )
    if not issues:
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purposes, critical=False)
    return builder.sign(root, hashes.SHA256())


def _name(name: str) -> x509.Name:
    parts = ((NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, "Z Darkroom"))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])
