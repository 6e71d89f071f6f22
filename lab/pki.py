# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own TLS authority, server certificate, password and SSH key. What exists is kept; the certificates carry
what strict clients demand (Python 3.13 checks key usage and key identifiers)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.paths import Paths
from lab.state import write_text

CA_DAYS, SERVER_DAYS = 3650, 800


def ensure(paths: Paths) -> list[str]:
    """Makes what is missing; returns the names of what was made."""
    made: list[str] = []
    ca_key_file = paths.tls / "ca.key"
    if not (paths.ca.exists() and ca_key_file.exists()):
        _make_ca(paths.ca, ca_key_file, paths.lab_id)
        made.append("TLS authority")
    server, server_key = paths.tls / "server.pem", paths.tls / "server.key"
    if "TLS authority" in made or not (server.exists() and server_key.exists()):
        _make_server(paths.ca, ca_key_file, server, server_key)
        made.append("server certificate")
    if not paths.password.exists():
        write_text(paths.password, secrets.token_urlsafe(18) + "\n", 0o600)
        made.append("password")
    if not paths.admin_password.exists():
        write_text(paths.admin_password, secrets.token_urlsafe(18) + "\n", 0o600)
        made.append("administrator's password")
    if not (paths.ssh_key.exists() and paths.ssh_key.with_suffix(".pub").exists()):
        _make_ssh_key(paths.ssh_key, paths.lab_id)
        made.append("SSH key")
    return made


def _make_ca(certificate: Path, key_file: Path, lab_id: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"nanobanana lab {lab_id}")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    cert = (
        _builder(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_file, key)
    write_text(certificate, _pem(cert))


def _make_server(ca_file: Path, ca_key_file: Path, certificate: Path, key_file: Path) -> None:
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    cert = (
        _builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
            ca.subject,
            key.public_key(),
            SERVER_DAYS,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write_key(key_file, key)
    write_text(certificate, _pem(cert))


def _make_ssh_key(path: Path, lab_id: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_text(path, private.decode(), 0o600)
    write_text(path.with_suffix(".pub"), f"{public.decode()} nanobanana-lab-{lab_id}\n")


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a guest's clock may be behind
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_text(path, pem.decode(), 0o600)
