"""The truth behind the sandbox: configs, users, and what each operation does to them. Pure."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from random import Random
from urllib.parse import parse_qs

import msgspec

from enkash_coins.sandbox.answers import Answer, failure, success

#: A JSON object of the API's own keys; a configuration may be an object itself.
Fields = dict[str, str | int | dict[str, object]]

#: How much of the past is kept, so that long runs keep flat memory.
HISTORY = 10_000
#: The company of every documented example, and the id of the worked one (api.md).
COMPANY = "CEK1"
EXAMPLE = "WCC12345"
EVENTS = ("INVOICE_PAYMENT", "MEAL_CARD_PAYMENT", "REFERRAL_EVENT")

_CONFIG = {"amount": (int,), "configuration": (str, dict), "companyId": (str,), "event": (str,)}
_ALLOCATION = dict.fromkeys(("companyId", "event", "requestId", "userId"), (str,))
_SHOWN = ("coinConfigId", "configuration", "event", "amount")
_LARGEST = 2**63 - 1


class _Refused(Exception):
    """A regular answer on its way out of an operation."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = failure(status, message)


class World:
    """All that the API knows, and the operations on it.

    What is in ``configs`` may be changed or taken out directly, as if somebody else had done it; only a config's
    company and event are changed by an update, because an index knows them.

    Args:
        configs: how many there are at first, besides the documented example.
        seed: the same one makes the same configs.
        dedupe: whether a repeated ``requestId`` is refused.
    """

    def __init__(self, configs: int, *, seed: int, dedupe: bool) -> None:
        self.configs: dict[str, Fields] = dict(_made(configs, Random(seed)))
        self.configs[EXAMPLE] = _config(EXAMPLE, COMPANY, EVENTS[0], 10, "DEFAULT")
        self.allocations: list[Fields] = []
        self.applied: deque[tuple[str, str, Fields]] = deque(maxlen=HISTORY)
        self._companies = {config["companyId"] for config in self.configs.values()}
        self._balances: Counter[str] = Counter()
        self._request_ids: set[str] = set()
        self._dedupe = dedupe
        self._last_number = configs
        self._ids: dict[tuple[object, object], str] | None = None
        self._operations: dict[str, Callable[[str, bytes], object]] = {
            "get": self._get,
            "update": self._update,
            "create": self._create,
            "allocate": self._allocate,
            "balance": self._balance,
            "other": self._other,
        }

    def apply(self, operation: str, argument: str, body: bytes) -> Answer:
        """Carry out one operation, as a whole or not at all, and return the API's answer."""
        try:
            return success(self._operations[operation](argument, body))
        except _Refused as refused:
            return refused.answer

    def _get(self, config_id: str, _body: bytes) -> object:
        return _shown(self._find(config_id))

    def _update(self, config_id: str, body: bytes) -> object:
        fields = _read(body, _CONFIG, required=False)
        config = self._find(config_id)
        self._check(fields)
        changes = {name: fields[name] for name in _CONFIG if name in fields}
        if "event" in changes or "companyId" in changes:
            self._ids = None
        config.update(changes)
        self.applied.append(("update", config_id, fields))
        return _shown(config)

    def _create(self, _query: str, body: bytes) -> object:
        fields = _read(body, _CONFIG, required=True)
        self._check(fields)
        if self._found(fields) is not None:
            raise _Refused(409, "A configuration of this company and event exists already")
        config_id = self._next_id()
        config = {"coinConfigId": config_id, **{name: fields[name] for name in _CONFIG}}
        self.configs[config_id] = config
        if self._ids is not None:
            self._ids[_place(config)] = config_id
        self.applied.append(("create", config_id, fields))
        return _shown(config)

    def _allocate(self, _query: str, body: bytes) -> object:
        fields = _read(body, _ALLOCATION, required=True)
        self._check(fields)
        request_id = str(fields["requestId"])
        if self._dedupe and request_id in self._request_ids:
            raise _Refused(409, "requestId exists already")
        self._request_ids.add(request_id)
        config = self._found(fields)
        self._balances[str(fields["userId"])] += 1 if config is None else int(str(config["amount"]))
        self.allocations.append(fields)
        self.applied.append(("allocate", request_id, fields))
        return "Successfully allocated enkash Coins"

    def _balance(self, query: str, _body: bytes) -> object:
        user = parse_qs(query).get("userId", [""])[0]
        if not user:
            raise _Refused(400, "Missing parameter: userId")
        return self._balances[user]  # a Counter does not keep the zero of a user it was asked for

    def _other(self, status: str, _body: bytes) -> object:
        raise _Refused(int(status), "Method not allowed" if status == "405" else "No such path")

    def _find(self, config_id: str) -> Fields:
        config = self.configs.get(config_id)
        if config is None:
            raise _Refused(404, "No such coin configuration")
        return config

    def _found(self, fields: Fields) -> Fields | None:
        """The config of this company and event."""
        if self._ids is None:
            self._ids = {_place(config): config_id for config_id, config in self.configs.items()}
        return self.configs.get(self._ids.get(_place(fields), ""))

    def _check(self, fields: Fields) -> None:
        if "companyId" in fields and fields["companyId"] not in self._companies:
            raise _Refused(412, "Wrong company")
        amount = fields.get("amount", 0)
        if isinstance(amount, int) and not 0 <= amount <= _LARGEST:
            raise _Refused(422, "amount must be between 0 and 9223372036854775807")
        if "" in fields.values():
            raise _Refused(422, "No value may be empty")

    def _next_id(self) -> str:
        self._last_number += 1
        while (config_id := f"WCC{self._last_number:05d}") in self.configs:
            self._last_number += 1
        return config_id


def _made(count: int, dice: Random) -> Iterator[tuple[str, Fields]]:
    # Three configs to a company, one for each event, since no company has two for the same; all of
    # them other companies than the examples', so that the documented calls of create succeed.
    shift = dice.randrange(len(EVENTS))
    for number in range(1, count + 1):
        config_id = f"WCC{number:05d}"
        company = f"CEK{100_000 + (number - 1) // len(EVENTS)}"
        event = EVENTS[(number + shift) % len(EVENTS)]
        configuration = "DEFAULT" if dice.random() < 0.5 else "CUSTOM"
        yield config_id, _config(config_id, company, event, int(dice.random() * 100) + 1, configuration)


def _config(config_id: str, company: str, event: str, amount: int, configuration: str) -> Fields:
    return {
        "coinConfigId": config_id,
        "configuration": configuration,
        "event": event,
        "amount": amount,
        "companyId": company,
    }


def _shown(config: Fields) -> Fields:
    return {name: config[name] for name in _SHOWN}


def _place(config: Fields) -> tuple[object, object]:
    return config["companyId"], config["event"]


def _read(body: bytes, types: Mapping[str, tuple[type, ...]], *, required: bool) -> Fields:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _Refused(400, "The body must be a JSON object")
    for name, kinds in types.items():
        value = fields.get(name)
        if name not in fields:
            if required:
                raise _Refused(400, f"Missing parameter: {name}")
        # Exactly: no true, 10.0 or "10" for an integer; and the object form of a configuration holds a CUSTOM.
        elif type(value) not in kinds or (type(value) is dict and type(value.get("CUSTOM")) is not str):
            raise _Refused(400, f"Invalid parameter: {name}")
    return fields
