"""TLS, through a proxy in front of a real server: whose certificate is believed, and that nothing is left open."""

from __future__ import annotations

import asyncio
import datetime
import gc
import ipaddress
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ductape_asgi.errors import ConfigurationError, StoreUnavailable
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.testing.contract.records import must_read, start
from tests.redis_servers import fresh


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of a test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "redis.pem"
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(signed.public_bytes(encoding) + secret)
    return path


class Proxy:
    """Takes TLS off, in a thread and an event loop of its own."""

    def __init__(self, certificate: Path, port: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    def __enter__(self) -> str:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, to_server}
        for source, target in ((reader, to_server), (from_server, writer)):
            self._pipes.add(asyncio.create_task(self._pipe(source, target)))

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await source.read(65536):
                target.write(chunk)
                await target.drain()
        target.close()

    async def _stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._pipes:
            await asyncio.wait(self._pipes, timeout=10)


def behind_tls(certificate: Path, redis_url: str) -> Proxy:
    """A place where the server at `redis_url` can be reached with TLS."""
    return Proxy(certificate, int(redis_url.rpartition(":")[2].partition("/")[0]))


def tls_url(place: str, redis_url: str, options: str = "") -> str:
    prefix = fresh(redis_url).rpartition("?")[2]
    return f"rediss://{place}/0?{prefix}{options}"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
class TestTls:
    async def test_a_certificate_that_is_believed(self, certificate: Path, redis_url: str) -> None:
        with behind_tls(certificate, redis_url) as place:
            store = RedisStore(tls_url(place, redis_url, f"&ssl_ca_certs={certificate}"))
            await store.open()
            record = await start(store)
            assert await must_read(store, record.session_id) == record
            await store.close()

    async def test_a_certificate_of_a_stranger_is_refused(self, certificate: Path, redis_url: str) -> None:
        with behind_tls(certificate, redis_url) as place, pytest.raises(ConfigurationError, match="certificate"):
            await RedisStore(tls_url(place, redis_url)).open()

    async def test_a_certificate_for_another_host_is_refused(self, certificate: Path, redis_url: str) -> None:
        with behind_tls(certificate, redis_url) as place:
            place = place.replace("127.0.0.1", "localhost")
            with pytest.raises(ConfigurationError, match="certificate"):
                await RedisStore(tls_url(place, redis_url, f"&ssl_ca_certs={certificate}")).open()

    async def test_a_server_without_tls_may_be_what_does_not_answer(self, redis_url: str) -> None:
        place = redis_url.partition("//")[2].partition("/")[0]
        with pytest.raises(StoreUnavailable, match="speaks no TLS"):
            await RedisStore(tls_url(place, redis_url)).open()

    async def test_files_that_are_not_there_are_a_matter_of_configuration(self, redis_url: str) -> None:
        with pytest.raises(ConfigurationError, match="certificate"):
            await RedisStore(tls_url("127.0.0.1:1", redis_url, "&ssl_ca_certs=/nowhere.pem")).open()


def test_nothing_is_left_open_when_the_event_loop_has_gone(certificate: Path, redis_url: str) -> None:
    """Warnings are errors here: a socket that was forgotten would be told of when it is collected."""
    with behind_tls(certificate, redis_url) as place:
        store = RedisStore(tls_url(place, redis_url, f"&ssl_ca_certs={certificate}"))

        async def use() -> None:
            await store.open()
            await asyncio.gather(*(start(store) for _ in range(3)))

        for _ in range(2):
            asyncio.run(use())
        asyncio.run(store.close())
        gc.collect()
