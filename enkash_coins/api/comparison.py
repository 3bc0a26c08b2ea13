"""What a success shows otherwise than asked for: the one place where wanted is compared with found."""

import json

from enkash_coins.display import cut
from enkash_coins.models import UNSET, CoinEventConfig, CoinEventCreation, CoinEventUpdate, CustomConfiguration


def holds(found: object, wanted: object) -> bool:
    """Whether a field holds what was set; of the object form of ``configuration`` only the keys that we set count.

    Both may be values of a model, or JSON values.
    """
    if found == wanted:
        return True
    wanted, found = _plain(wanted), _plain(found)
    if not isinstance(wanted, dict) or not isinstance(found, dict):
        return False
    return all(key in found and _json(found[key]) == _json(wanted[key]) for key in wanted)


def differences(wanted: CoinEventUpdate | CoinEventCreation, found: CoinEventConfig) -> str:
    """What an answer shows otherwise than asked for, in words; empty if nothing.

    The id and ``company_id`` are not compared: the documented example answers with another id, and without a company.
    """
    wrong: list[str] = []
    if wanted.amount is not UNSET and wanted.amount != found.amount:
        wrong.append(f"amount {found.amount} instead of {wanted.amount}")
    if wanted.configuration is not UNSET and not holds(found.configuration, wanted.configuration):
        wrong.append(f"configuration {_shown(found.configuration)} instead of {_shown(wanted.configuration)}")
    if wanted.event is not UNSET and wanted.event != found.event:
        wrong.append(f"event {_shown(found.event)} instead of {_shown(wanted.event)}")
    return ", ".join(wrong) if wrong else ""


def _plain(value: object) -> object:
    return value.as_dict() if isinstance(value, CustomConfiguration) else value


def _json(value: object) -> str:
    """For a comparison that takes a tuple for the list that it is sent as."""
    return json.dumps(value, sort_keys=True)


def _shown(value: str | CustomConfiguration) -> str:
    return repr(cut(str(value))) if isinstance(value, str) else cut(_json(value.as_dict()))
