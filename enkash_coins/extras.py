"""What a part of the package lacks, said with the command that installs it."""

import json
import shlex
from urllib.parse import unquote, urlsplit


def lacking(part: str, extra: str) -> str:
    """One line: the part is an extra, which this command installs from where the package came."""
    return f"{part} is an extra: pip install {_requirement(extra)}"


def _requirement(extra: str) -> str:
    from importlib import metadata  # noqa: PLC0415  # 20 ms, which only who lacks something has to wait

    named = f"enkash-coins[{extra}]"
    try:
        origin = json.loads(metadata.distribution("enkash-coins").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        origin = {}
    url = origin.get("url")
    if url is None:
        return f"'{named}'"  # from an index
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {shlex.quote(f'{unquote(urlsplit(url).path)}[{extra}]')}"
    version = origin.get("vcs_info")
    if version:
        url = f"{version['vcs']}+{url}@{version['commit_id']}"
    return shlex.quote(f"{named} @ {url}")
