"""Settings from ``ENKASH_*`` environment variables."""

import os
from typing import Final

from enkash_coins.auth.credentials import flaw
from enkash_coins.auth.file_guard import FileGuard
from enkash_coins.auth.password_grant import PasswordGrant
from enkash_coins.auth.tokens import StaticToken, TokenSource
from enkash_coins.display import shown
from enkash_coins.errors import InvalidRequest
from enkash_coins.layers.encryption import PayloadEncryption
from enkash_coins.secret import Secret

BASE_URL: Final = "ENKASH_BASE_URL"
TOKEN: Final = "ENKASH_TOKEN"  # noqa: S105  # the variable's name
CLIENT_SECRET: Final = "ENKASH_CLIENT_SECRET"  # noqa: S105  # the variable's name
CREDENTIALS: Final = ("ENKASH_CLIENT_ID", CLIENT_SECRET, "ENKASH_USERNAME", "ENKASH_PASSWORD")
ENCRYPTED: Final = "ENKASH_ENCRYPTED"


def encryption_from_environment(*, encrypted: bool = False) -> PayloadEncryption | None:
    """Encryption with the client secret, if asked for; raises ``InvalidRequest`` without a secret.

    Args:
        encrypted: whatever ``ENKASH_ENCRYPTED`` says; else it asks with 1.
    """
    switch = os.environ.get(ENCRYPTED, "")
    if switch not in ("", "0", "1"):
        raise InvalidRequest(f"{ENCRYPTED} is {shown(switch)}: set it to 1 or to 0")
    if switch != "1" and not encrypted:
        return None
    if not os.environ.get(CLIENT_SECRET):
        raise InvalidRequest(f"{CLIENT_SECRET} is not set: encryption needs it as the key")
    return PayloadEncryption(os.environ[CLIENT_SECRET])


def base_url_from_environment() -> str:
    """The host to talk to; raises ``InvalidRequest`` when it is not set."""
    if not os.environ.get(BASE_URL):
        raise InvalidRequest(f"{BASE_URL} is not set: it is a required setting, never a guess")
    return os.environ[BASE_URL]


def auth_from_environment(guard: FileGuard | None = None, *, encrypted: bool = False) -> TokenSource:
    """A token, or the four parts of a login; raises ``InvalidRequest`` naming what is missing or too much.

    Args:
        guard: of a login; ``None`` for the default one, on disk.
        encrypted: the client secret may stand beside a token, as the key; so it may with ``ENKASH_ENCRYPTED``.
    """
    # No local variable holds a value: a traceback through this frame shows names only.
    given = [name for name in CREDENTIALS if os.environ.get(name)]
    for name in (TOKEN, *CREDENTIALS):
        if os.environ.get(name) and (problem := flaw(os.environ[name])):
            raise InvalidRequest(f"{name} {problem}: nothing is sent")
    if os.environ.get(TOKEN):
        if (encrypted or os.environ.get(ENCRYPTED) == "1") and given == [CLIENT_SECRET]:
            given = []  # it is the key of the encryption, and no login
        if given:
            raise InvalidRequest(f"both {TOKEN} and {', '.join(given)} are set: unset one kind")
        return StaticToken(Secret(os.environ[TOKEN]))
    missing = [name for name in CREDENTIALS if name not in given]
    if not given:
        raise InvalidRequest(f"neither {TOKEN} nor {', '.join(CREDENTIALS)} are set")
    if missing:
        raise InvalidRequest(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set")
    return PasswordGrant(*(os.environ[name] for name in CREDENTIALS), guard=guard)
