"""For tests of your own code: a transport that answers from memory."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from enkash_coins.errors import EnkashError, ServiceClosed
from enkash_coins.transport import Request, Response

Answer = Response | EnkashError
Handler = Callable[[Request], Answer | Awaitable[Answer]]


class NotAnAnswer(AssertionError, TypeError):
    """A mistake in a test: what the mock was told to answer with is no answer."""


class MockTransport:
    """Answers requests from a handler, or from a list in order; keeps what was asked.

    Args:
        handler_or_answers: a function (``async`` or not) from ``Request`` to ``Response``, or the answers themselves.
            An ``EnkashError`` is raised instead of being answered. ``answer`` makes a ``Response``.

    Attributes:
        requests: every request that was sent, in order.

    Raises (from ``send``):
        AssertionError: more requests than answers.
        NotAnAnswer: an answer that is neither a ``Response`` nor an ``EnkashError``.
    """

    def __init__(self, handler_or_answers: Handler | Iterable[Answer]) -> None:
        self.requests: list[Request] = []
        self.closed = False
        if callable(handler_or_answers):
            self._handler: Handler = handler_or_answers
        else:
            answers = iter(handler_or_answers)
            self._handler = lambda request: _next(answers, request, len(self.requests))

    async def send(self, request: Request, /) -> Response:
        """Keep the request and answer it."""
        if self.closed:
            raise ServiceClosed("the mock transport was closed")
        self.requests.append(request)
        answer = self._handler(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, EnkashError):
            raise answer
        if not isinstance(answer, Response):
            raise NotAnAnswer(f"MockTransport answers with {type(answer).__name__}: wrap the payload in answer(…)")
        return answer

    async def aclose(self) -> None:
        """Refuse requests from now on."""
        self.closed = True


def _next(answers: "Iterable[Answer]", request: Request, count: int) -> Answer:
    for answer in answers:
        return answer
    raise AssertionError(f"MockTransport has no answer left for request {count}: {request.method} {request.path}")


def answer(
    payload: object,
    *,
    status: int = 200,
    code: int = 0,
    message: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response in the API's envelope; ``answer(None, status=404)`` is one of its failures.

    Args:
        code: the envelope's ``response_code``; anything but 0 is a failure.
        message: the envelope's ``response_message``, by default one that suits the other arguments.
    """
    if message is None:
        message = "Success" if 200 <= status < 300 and code == 0 else "Failure"
    body = msgspec.json.encode({"payload": payload, "response_code": code, "response_message": message})
    return Response(status, {"Content-Type": "application/json", **(headers or {})}, body)
