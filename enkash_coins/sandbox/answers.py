"""Answers as values: what is said, before any of it is on the wire. Pure."""

from http import HTTPStatus

import msgspec
from attrs import frozen

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>\n"


@frozen
class Answer:
    """One answer: status, body, and the headers that these two don't give by themselves."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"

    @property
    def is_the_apis(self) -> bool:
        """Whether the API says so itself, and not what stands in front of it: a login, a limit, a CDN."""
        return self.status not in (401, 429) and self.content_type == "application/json"


def success(payload: object) -> Answer:
    """The API's envelope around what was asked for."""
    return Answer(200, msgspec.json.encode({"payload": payload, "response_code": 0, "response_message": "Success"}))


def failure(status: int, message: str, *, retry_after: str | None = None) -> Answer:
    """The API's envelope around a refusal; its payload repeats the message, as in the documented example."""
    envelope = {"payload": message, "response_code": 1, "response_message": message}
    return Answer(status, msgspec.json.encode(envelope), () if retry_after is None else (("Retry-After", retry_after),))


def too_many(retry_after: str | None) -> Answer:
    """429: as the API words it, or as the page of a CDN if it does not say when to come back."""
    return page(429) if retry_after is None else failure(429, "Too many requests", retry_after=retry_after)


def oauth_error(status: int, error: str, description: str) -> Answer:
    """A refusal as Spring's OAuth words it, without an envelope."""
    return Answer(status, msgspec.json.encode({"error": error, "error_description": description}))


def page(status: int) -> Answer:
    """An HTML page, as a CDN shows it in front of the API."""
    return Answer(status, _PAGE.format(f"{status} {_REASONS.get(status, '')}").encode(), content_type="text/html")


def head(answer: Answer, *, keep_alive: bool, cookies: tuple[str, ...]) -> bytes:
    """Status line and headers, up to and with the empty line before the body."""
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *[f"{name}: {value}" for name, value in answer.headers],
        *[f"Set-Cookie: {cookie}" for cookie in cookies],
        *(() if keep_alive else ("Connection: close",)),
    ]
    return "\r\n".join([*lines, "", ""]).encode()
