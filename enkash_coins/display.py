"""How foreign values are shown in messages: short, and without characters that steer a terminal or a log."""

_LONGEST_TEXT = 512
_LONGEST_VALUE = 80


def cut(text: str) -> str:
    """Remote text as it may be shown: at most 512 printable characters."""
    text = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def shown(value: object) -> str:
    """A caller's value as it may be shown: ASCII, at most 80 characters."""
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001  # somebody else's __repr__, or an integer of too many digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
