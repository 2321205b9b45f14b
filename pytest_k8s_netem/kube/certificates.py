"""The webhooks' certificates: a CA of our own and what it signs, made, judged and renewed. Pure but for randomness.

All of it travels as PEM, as it lies in a Secret. cryptography is imported late: only the controller needs it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

CA_LIFE = timedelta(days=365)
LIFE = timedelta(days=90)
"""Of the certificate that the webhooks show. Either is renewed when a third of its life is left."""
EARLIER = timedelta(hours=1)
"""Certificates count from then: clocks of nodes differ."""
CA, CA_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
"""Keys of the Secret."""
CA_NAME = "pytest-k8s-netem"


@dataclass(frozen=True)
class Certificates:
    """What a Secret holds.

    :ivar trusted: CA certificates, the newest first; old ones stay until they expire, so that a change is no gap.
    :ivar ca_key: of the newest. :ivar chain, key: what the webhooks show, and prove that it is theirs.
    """

    trusted: bytes
    ca_key: bytes
    chain: bytes
    key: bytes

    def to_data(self) -> dict[str, str]:
        """As ``data`` of a Secret."""
        fields = {CA: self.trusted, CA_KEY: self.ca_key, CERTIFICATE: self.chain, KEY: self.key}
        return {name: b64encode(value).decode() for name, value in fields.items()}

    @classmethod
    def of_data(cls, data: Mapping[str, str] | None) -> Certificates | None:
        """From ``data`` of a Secret; None = it holds none that can be read."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.x509 import ExtensionNotFound

        try:
            fields = [b64decode((data or {})[name], validate=True) for name in (CA, CA_KEY, CERTIFICATE, KEY)]
            found = cls(*fields)
            _check(found)
        except (KeyError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, ExtensionNotFound):
            return None
        return found


def renewed(old: Certificates | None, names: Sequence[str], now: datetime | None = None) -> Certificates:
    """What is to be used from now on: the old ones while they are good and speak of these names.

    :param names: DNS names and addresses of the webhooks.
    """
    now = now or datetime.now(UTC)
    if old is None or _due(old.trusted, CA_LIFE, now):
        trusted, ca_key = _authority(now)
        keep = _unexpired(old.trusted, now) if old is not None else b""
        chain, key = _signed(trusted, ca_key, names, now)
        return Certificates(trusted + keep, ca_key, chain, key)
    if _due(old.chain, LIFE, now) or _names(old.chain) != set(names):
        chain, key = _signed(old.trusted, old.ca_key, names, now)
        return Certificates(_unexpired(old.trusted, now), old.ca_key, chain, key)
    return old


def good(certificates: Certificates, now: datetime | None = None) -> bool:
    """Whether what the webhooks show can be shown at this moment."""
    return ends(certificates) > (now or datetime.now(UTC))


def ends(certificates: Certificates) -> datetime:
    """When what the webhooks show expires."""
    end: datetime = _first(certificates.chain).not_valid_after_utc
    return end


def _authority(now: datetime) -> tuple[bytes, bytes]:
    from cryptography import x509

    key = _new_key()
    ca = _builder(CA_NAME, _named(CA_NAME), key, signer=key, now=now, life=CA_LIFE)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    usage |= {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
    return _pem(ca.add_extension(x509.KeyUsage(**usage), critical=True), key), _private(key)


def _signed(trusted: bytes, ca_key: bytes, names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    ca, signer, key = _first(trusted), load_pem_private_key(ca_key, None), _new_key()
    one = _builder(names[0], ca.subject, key, signer=signer, now=now, life=LIFE)
    one = one.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    one = one.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    one = one.add_extension(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), critical=False)
    return _pem(one, signer), _private(key)


def _builder(subject: str, issuer: Any, key: Any, *, signer: Any, now: datetime, life: timedelta) -> Any:
    from cryptography import x509

    builder = x509.CertificateBuilder().subject_name(_named(subject)).issuer_name(issuer)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - EARLIER).not_valid_after(now + life)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    theirs = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return builder.add_extension(own, critical=False).add_extension(theirs, critical=False)


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(builder: Any, signer: Any) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    made: bytes = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)
    return made


def _private(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made


def _named(name: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, name[:64])])


def _general(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(chain: bytes) -> set[str]:
    from cryptography import x509

    found = _first(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def _first(pem: bytes) -> Any:
    from cryptography import x509

    return x509.load_pem_x509_certificates(pem)[0]


def _check(found: Certificates) -> None:
    """Read all of it; fails where something cannot be read, or does not belong together."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for certificate, key in ((found.trusted, found.ca_key), (found.chain, found.key)):
        if load_pem_private_key(key, None).public_key() != _first(certificate).public_key():
            raise ValueError("a key is not its certificate's")
    _first(found.chain).verify_directly_issued_by(_first(found.trusted))
    _names(found.chain)


def _due(pem: bytes, life: timedelta, now: datetime) -> bool:
    return bool(_first(pem).not_valid_after_utc - now < life / 3)


def _unexpired(pem: bytes, now: datetime) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    found = x509.load_pem_x509_certificates(pem)
    return b"".join(one.public_bytes(Encoding.PEM) for one in found if one.not_valid_after_utc > now)
