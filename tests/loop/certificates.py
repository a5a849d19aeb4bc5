"""TLS contexts for tests, with a certificate made when first needed."""

from __future__ import annotations

import functools
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

NAME = "localhost"


@functools.cache
def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for localhost and its key, both PEM; made by openssl, else by trustme."""
    program = shutil.which("openssl")
    if program is None:
        return _by_trustme()
    with tempfile.TemporaryDirectory() as folder:
        key, cert = Path(folder, "key.pem"), Path(folder, "cert.pem")
        command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={NAME}"]
        command += ["-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)
        return cert.read_bytes(), key.read_bytes()


def _by_trustme() -> tuple[bytes, bytes]:
    try:
        import trustme
    except ImportError as error:
        raise RuntimeError("the TLS tests need a certificate: install openssl or `pip install trustme`") from error
    authority = trustme.CA()
    issued = authority.issue_cert(NAME, "127.0.0.1")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems) + authority.cert_pem.bytes()
    return chain, issued.private_key_pem.bytes()


def server_context() -> ssl.SSLContext:
    """A context that shows the certificate."""
    return with_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def with_certificate(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, now with the certificate to show."""
    cert, key = certificate()
    with tempfile.NamedTemporaryFile() as both:
        both.write(key + cert)
        both.flush()
        context.load_cert_chain(both.name)
    return context


def client_context(*, trusting: bool = True) -> ssl.SSLContext:
    """A context that checks the server's name and, if ``trusting``, knows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusting:
        context.load_verify_locations(cadata=certificate()[0].decode())
    return context
