"""HTTP to one forge and to nothing else, bounded in time and size.

What a forge answers, and what people write there, must not be able to send the twin's token anywhere: another scheme,
host or port is refused before anything is sent, be it a redirect or an address out of an answer.
"""

from __future__ import annotations

import asyncio
import ssl

import httpx

from twin.domain.errors import Blocked, StepFailure, Transient

MOST_BYTES = 32 << 20
"""Of one answer, decompressed. A page of a hundred pull requests with long descriptions has some megabytes."""

MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 307, 308})
ABOUT_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class Outgoing(httpx.AsyncBaseTransport):
    """A transport of httpx that knows one origin.

    Raises `Transient` and `Blocked` itself; neither quotes a header or what was sent. It outlives the clients that use
    it: `finish` gives back its connections, `aclose` does not.
    """

    def __init__(self, name: str, url: str, *, seconds: float, most_bytes: int = MOST_BYTES) -> None:
        self._name = name
        self._origin = _origin(httpx.URL(url))
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._inner: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The whole answer, read to its end."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(request)
        except StepFailure:
            raise
        except (TimeoutError, httpx.TimeoutException):
            raise Transient(f"{self._name} did not answer within {self._seconds:g} s") from None
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        except httpx.DecodingError:
            raise Transient(f"{self._name} sent an answer that cannot be decompressed") from None

    async def _follow(self, request: httpx.Request) -> httpx.Response:
        """A repository that was renamed is answered with its new address: the same request is sent there."""
        for _ in range(1 + MOST_REDIRECTS):
            response = await self._send(request)
            location = response.headers.get("location")
            if response.status_code not in REDIRECTS or location is None:
                return response
            content = await request.aread()
            headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
            request = httpx.Request(
                request.method,
                self._joined(request.url, location),
                headers=headers,
                content=content,
                extensions=request.extensions,
            )
        raise Transient(f"{self._name} redirects in circles")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        if _origin(request.url) != self._origin:
            raise self._elsewhere()
        if self._inner is None:
            self._inner = httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context())
        answered = await self._inner.handle_async_request(request)
        answered.request = request
        try:
            content = bytearray()
            async for chunk in answered.aiter_bytes():
                content += chunk
                if len(content) > self._most_bytes:
                    raise Transient(f"{self._name} answers with more than {self._most_bytes} bytes")
        finally:
            await answered.aclose()
        headers = [(name, value) for name, value in answered.headers.multi_items() if name not in ABOUT_THE_WIRE]
        return httpx.Response(
            answered.status_code,
            headers=headers,
            content=bytes(content),
            request=request,
            extensions={key: value for key, value in answered.extensions.items() if key != "network_stream"},
        )

    def _joined(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            return url.join(location)
        except httpx.InvalidURL:
            raise Transient(f"{self._name} redirects to what is no address") from None

    def _elsewhere(self) -> Blocked:
        key = f"{self._name}/elsewhere"
        return Blocked(
            f"{self._name} points to another host, and the twin calls the configured one alone",
            key=key,
            mend="Give the forge's url and api_url as it is reached without a redirect (https, its canonical name).",
        )

    def _unreachable(self, error: httpx.TransportError) -> StepFailure:
        if _is_about_certificate(error):
            return Blocked(
                f"{self._name} has a certificate that the twin does not trust",
                key=f"{self._name}/certificate",
                mend="Renew the forge's certificate, or name its authority in SSL_CERT_FILE of the workers.",
            )
        # Only the kind of the error: httpx quotes what it could not send.
        return Transient(f"{self._name} cannot be reached ({type(error).__name__})")

    async def finish(self) -> None:
        """Close all connections."""
        if self._inner is not None:
            inner, self._inner = self._inner, None
            await inner.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return url.scheme, url.host, port


def _is_about_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
