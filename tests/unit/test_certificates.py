"""The webhooks' certificates: made, renewed in time, refused when they are nonsense; TLS itself judges them."""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_k8s_netem.kube import certificates
from pytest_k8s_netem.kube.certificates import CA_LIFE, LIFE, Certificates, ends, good, renewed

pytest.importorskip("cryptography")

NAMES = ("netem-controller.k8s-netem.svc", "127.0.0.1")
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def made() -> Certificates:
    return renewed(None, NAMES)


def shake(shown: Certificates, trusted: bytes, name: str, folder: Path) -> str:
    """A TLS handshake over a socketpair; "" = the client trusts what it is shown."""
    (folder / "chain.pem").write_bytes(shown.chain + shown.key)
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=trusted.decode())
    serving.load_cert_chain(folder / "chain.pem")
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            serving.wrap_socket(there, server_side=True).close()
        except OSError:
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        asking.wrap_socket(here, server_hostname=name).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    finally:
        here.close()
        thread.join(10)
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_tls_trusts_them(made: Certificates, name: str, tmp_path: Path) -> None:
    assert shake(made, made.trusted, name, tmp_path) == ""


def test_tls_trusts_no_other_name_and_no_other_authority(made: Certificates, tmp_path: Path) -> None:
    assert "mismatch" in shake(made, made.trusted, "evil.example", tmp_path)
    assert shake(made, renewed(None, NAMES).trusted, NAMES[0], tmp_path) != ""


def test_they_stay_while_they_are_good(made: Certificates) -> None:
    assert renewed(made, NAMES) is made
    assert renewed(made, NAMES, NOW + LIFE / 2) is made


def test_a_secret_keeps_them(made: Certificates) -> None:
    assert Certificates.of_data(made.to_data()) == made


def test_what_is_shown_is_renewed_before_it_expires_by_the_same_authority(made: Certificates, tmp_path: Path) -> None:
    later = renewed(made, NAMES, NOW + LIFE * 0.7)
    assert later.trusted == made.trusted
    assert later.chain != made.chain
    assert ends(later) > ends(made)
    assert shake(renewed(made, [*NAMES, "more"]), made.trusted, "more", tmp_path) == "", "other names are a reason too"


def test_the_authority_is_renewed_and_the_old_one_trusted_until_it_expires(made: Certificates, tmp_path: Path) -> None:
    later = renewed(made, NAMES, NOW + CA_LIFE * 0.7)
    assert later.trusted.endswith(made.trusted)
    assert later.trusted != made.trusted
    assert shake(made, later.trusted, NAMES[0], tmp_path) == "", "what is shown meanwhile is trusted still"
    last = renewed(later, NAMES, NOW + CA_LIFE * 1.4)
    assert made.trusted not in last.trusted


def test_expired_ones_are_replaced(tmp_path: Path) -> None:
    old = renewed(None, NAMES, NOW - 2 * CA_LIFE)
    assert not good(old)
    new = renewed(old, NAMES)
    assert good(new)
    assert shake(new, new.trusted, NAMES[0], tmp_path) == ""
    assert "expired" in shake(old, old.trusted, NAMES[0], tmp_path)


def test_clocks_may_differ(made: Certificates) -> None:
    from cryptography import x509

    [shown] = x509.load_pem_x509_certificates(made.chain)
    assert shown.not_valid_before_utc < NOW - timedelta(minutes=30)


@pytest.mark.parametrize("key", [certificates.CA, certificates.CA_KEY, certificates.CERTIFICATE, certificates.KEY])
@pytest.mark.parametrize("value", [None, "", "?", b64encode(b"nonsense").decode()])
def test_a_secret_with_nonsense_holds_none(made: Certificates, key: str, value: str | None) -> None:
    data = made.to_data() | ({key: value} if value is not None else {})
    if value is None:
        del data[key]
    assert Certificates.of_data(data) is None


def test_parts_of_two_do_not_belong_together(made: Certificates) -> None:
    other = renewed(None, NAMES)
    assert Certificates.of_data(made.to_data() | {certificates.KEY: other.to_data()[certificates.KEY]}) is None
    assert Certificates.of_data(made.to_data() | {certificates.CA: other.to_data()[certificates.CA]}) is None
    assert Certificates.of_data(None) is None
