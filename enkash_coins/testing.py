"""For tests of your own code: a transport that answers from memory."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from enkash_coins.api.answers import ERRORS
from enkash_coins.errors import ApiError, EnkashError, OperationFailed, ServerError, ServiceClosed, UnexpectedRedirect
from enkash_coins.models import AllocationReceipt, CoinEventConfig
from enkash_coins.transport import Request, Response

_NAMES = {"coin_config_id": "coinConfigId", "company_id": "companyId"}
_STATUSES = {kind: status for status, kind in ERRORS.items()} | {
    OperationFailed: 200,
    UnexpectedRedirect: 302,
    ServerError: 503,
    ApiError: 418,
}
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
    what: object,
    *,
    status: int | None = None,
    code: int | None = None,
    message: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response as the API gives it, in its envelope.

    Args:
        what: a ``CoinEventConfig`` (for get, update, create), an ``AllocationReceipt``, an integer (for balance); an
            ``ApiError`` such as ``NotFound()`` for the failure that a call then raises; or the payload as JSON values.
        status: the HTTP status; ``None`` for 200, or the error's own.
        code: the envelope's ``response_code``; anything but 0 is a failure. ``None`` for 0, or the error's own.
        message: the envelope's ``response_message``; ``None`` for one that suits the rest.

    Raises:
        NotAnAnswer: another ``EnkashError``: no answer means ``Disconnected()``, so that one goes to the mock itself.
    """
    headers = {"Content-Type": "application/json", **(headers or {})}
    match what:
        case CoinEventConfig():
            fields = {_NAMES.get(name, name): value for name, value in what.as_dict().items() if value is not None}
            del fields["extra"]
            what = fields | dict(what.extra)
        case AllocationReceipt():
            what = what.message
        case ApiError():
            status = status or what.status or _STATUSES[type(what)]
            code = what.response_code or 1 if code is None else code
            message = message or what.response_message or what.args[0] or None
            if what.retry_after is not None:
                headers["Retry-After"] = f"{what.retry_after:g}"
            headers, what = {**headers, **what.headers}, what.payload
        case EnkashError():
            raise NotAnAnswer(
                f"{type(what).__name__} is what a call raises without an answer: put it in the list as it is"
            )
    status, code = status or 200, code or 0
    if message is None:
        message = "Success" if 200 <= status < 300 and code == 0 else "Failure"
    body = msgspec.json.encode({"payload": what, "response_code": code, "response_message": message})
    return Response(status, headers, body)
