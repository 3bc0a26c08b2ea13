"""Nothing goes where it should not: not to a host with the wrong certificate, nor where an answer or a file points."""

import datetime as dt
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from enkash_coins import CoinEventService, ConnectError, EnkashError, TlsError, UnexpectedRedirect
from enkash_coins.service import ConnectOptions
from tests.faults.watch import PLANTED, Watch
from tests.wire.calls import CALLS, ONE_TRY, THREE_TRIES
from tests.wire.failures import authority, client_tls, server_tls
from tests.wire.leaks import grant
from tests.wire.server import Peer, Server, always, close, http, well

DAY = dt.timedelta(days=1)
Context = Callable[[Path], ssl.SSLContext | None]


def _serving(folder: Path, certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def expired(folder: Path) -> ssl.SSLContext:
    """Of the trusted authority, until yesterday."""
    now = dt.datetime.now(dt.UTC)
    return _serving(folder, authority().issue_cert("127.0.0.1", not_before=now - 9 * DAY, not_after=now - DAY))


def not_yet_valid(folder: Path) -> ssl.SSLContext:
    """Of the trusted authority, from tomorrow on."""
    now = dt.datetime.now(dt.UTC)
    return _serving(folder, authority().issue_cert("127.0.0.1", not_before=now + DAY, not_after=now + 9 * DAY))


def for_another_host(folder: Path) -> ssl.SSLContext:
    """Of the trusted authority, for other hosts."""
    return _serving(folder, authority().issue_cert("other.example", "*.0.0.1", "127.0.0.2"))


def named_only_in_the_subject(folder: Path) -> ssl.SSLContext:
    """Of the trusted authority, with our host in the common name, which does not count."""
    return _serving(folder, authority().issue_cert("other.example", common_name="127.0.0.1"))


def of_another_authority(folder: Path) -> ssl.SSLContext:
    """For the right host, by an authority that nobody trusts."""
    return _serving(folder, trustme.CA().issue_cert("127.0.0.1"))


def self_signed(folder: Path) -> ssl.SSLContext:
    """For the right host, by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
    certificate = built.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "self-signed.pem"
    file.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


def too_old(folder: Path) -> ssl.SSLContext:
    """The right certificate, with no TLS that is newer than 1.1."""
    context = server_tls()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def none_at_all(folder: Path) -> None:
    """Plain HTTP where TLS is expected."""


NO_TLS = (
    expired,
    not_yet_valid,
    for_another_host,
    named_only_in_the_subject,
    of_another_authority,
    self_signed,
    too_old,
    none_at_all,
)


@pytest.mark.parametrize("auth", ["token", "login"])
@pytest.mark.parametrize("context", NO_TLS)
async def test_no_byte_of_a_request_reaches_a_host_that_is_not_proven(
    context: Context, auth: str, tmp_path: Path, tally: Counter[str], watch: Watch
) -> None:
    """A TlsError at the first try, for calls and for logins: neither password nor token leaves, nothing is in doubt."""
    tls = context(tmp_path)
    received = bytearray()

    async def plainly(peer: Peer) -> None:
        received.extend(await peer.reader.read(65536))
        await peer.perform([http(400), close])

    options = PLANTED | ConnectOptions(retry=THREE_TRIES, ssl_context=client_tls())
    if auth == "login":
        options["auth"] = grant()
    async with (
        Server(tls=tls) if tls else Server(greeting=[plainly]) as server,
        CoinEventService.connect(f"https://127.0.0.1:{server.port}", **options) as coins,
    ):
        for call in CALLS.values():
            with pytest.raises(ConnectError) as caught:
                await call(coins)
            # A server that is too old hangs up without a word, which may be chance: that alone is tried again.
            assert isinstance(caught.value, TlsError) or context is too_old
            assert (caught.value.attempts, caught.value.maybe_applied) == (3 if context is too_old else 1, False)
            watch.look(caught.value)
            tally["TLS handshakes that had to fail"] += 1
        assert server.seen == []
    assert b"HTTP" not in received


async def test_http_to_a_port_that_speaks_tls(tally: Counter[str]) -> None:
    """The other way round: an error, and no answer is read into a TLS alert."""
    async with (
        Server(tls=server_tls()) as server,
        CoinEventService.connect(
            f"http://127.0.0.1:{server.port}", **(PLANTED | ConnectOptions(retry=ONE_TRY))
        ) as coins,
    ):
        for call in CALLS.values():
            with pytest.raises(EnkashError):
                await call(coins)
        assert server.seen == []


def _pointers(url: str) -> Iterator[tuple[str, bytes]]:
    """Answers that point to this URL, in every way known."""
    for status in (300, 301, 302, 303, 305, 306, 307, 308, 399):
        yield f"{status}", http(status, b"", [f"Location: {url}"])
        yield f"{status} with a body", http(status, b"<html>", [f"Location: {url}"], kind="text/html")
    for status in (200, 201, 202, 401, 403, 407, 426, 429, 503):
        yield f"{status} with Location", http(status, b"{}", [f"Location: {url}"])
        yield f"{status} with Refresh", http(status, b"", [f"Refresh: 0; url={url}"])
    scheme, _, host, *_ = url.split("/")
    for name, header in {
        "no scheme": f"Location: //{host}/",
        "a user": f"Location: {scheme}//127.0.0.1@{host}/",
        "two locations": f"Location: /here\r\nLocation: {url}",
        "a line end": f"Location: /\r\n Location: {url}",
        "Content-Location": f"Content-Location: {url}",
        "URI": f"URI: {url}",
        "Link": f'Link: <{url}>; rel="preload canonical alternate"',
        "Alt-Svc": f'Alt-Svc: h2="{host}", http/1.1="{host}"; ma=3600',
        "HSTS": "Strict-Transport-Security: max-age=31536000",
        "X-Accel-Redirect": f"X-Accel-Redirect: {url}",
        "Proxy": f"Proxy: {url}",
        "Report-To": f'Report-To: {{"endpoints":[{{"url":"{url}"}}]}}',
        "a challenge": f'WWW-Authenticate: Basic realm="{url}"',
    }.items():
        yield name, http(302, b"", [header])
        yield f"{name}, 401", http(401, b"", [header])
    meta = f'<html><head><meta http-equiv="refresh" content="0; url={url}"></head></html>'.encode()
    for status in (200, 301, 503):
        yield f"meta refresh, {status}", http(status, meta, kind="text/html")
    yield "a script", http(200, f"<script>location='{url}'</script>".encode(), kind="text/html")


@pytest.mark.parametrize("own", [False, True], ids=["our session", "the caller's session"])
async def test_no_answer_sends_a_request_elsewhere(own: bool, tally: Counter[str], watch: Watch) -> None:
    """Whatever points to another host, it hears nothing: neither of a call, nor of a login, nor at a retry after it."""
    async with Server() as elsewhere, aiohttp.ClientSession() as session:
        for name, answer in _pointers(f"{elsewhere.url}/api/v0/enkash-coins/WCC12345"):
            for login in (False, True):
                script = (lambda _, answer=answer: [answer]) if login else always(answer)
                options = ConnectOptions(auth=grant()) if login else PLANTED
                if own:
                    options = ConnectOptions(auth=options["auth"], session=session)
                async with (
                    Server(script) as server,
                    CoinEventService.connect(server.url, **(options | ConnectOptions(retry=THREE_TRIES))) as coins,
                ):
                    for call in CALLS.values():
                        with pytest.raises(EnkashError) as caught:
                            await call(coins)
                        watch.look(caught.value)
                        if " " not in name and name.isdigit() and not login:
                            assert isinstance(caught.value, UnexpectedRedirect)
                    seen = len(server.seen)
                    server.script = well
                    if not login:
                        assert await coins.balance("EK1") == 1250
                        assert len(server.seen) == seen + 1
                tally["answers that point to another host, and calls of it"] += len(CALLS)
        assert (elsewhere.connections, elsewhere.seen) == (0, [])


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "FTP_PROXY")


@pytest.mark.parametrize("auth", ["token", "login"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_planted_environment_changes_no_request(
    auth: str, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    """Proxies and .netrc of the environment: byte for byte the same requests as without, and none anywhere else."""

    async def raw() -> list[bytes]:
        async with (
            Server(tls=server_tls() if tls else None) as server,
            CoinEventService.connect(
                server.url, auth=grant() if auth == "login" else "a-token", ssl_context=client_tls() if tls else None
            ) as coins,
        ):
            for call in CALLS.values():
                await call(coins)
        return [exchange.raw.replace(str(server.port).encode(), b"PORT") for exchange in server.seen]

    for name in (*PROXIES, "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    before = await raw()
    async with Server() as elsewhere:
        for name in PROXIES:
            monkeypatch.setenv(name, elsewhere.url)
            monkeypatch.setenv(name.lower(), elsewhere.url)
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login user password secret\ndefault login user password secret\n", "ascii")
        netrc.chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(netrc))
        after = await raw()
        assert after == before
        assert (elsewhere.connections, len(after)) == (0, len(CALLS) + (auth == "login"))
    tally["requests under a planted environment"] += len(after)
