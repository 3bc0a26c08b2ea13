import json
import subprocess
import sys

import pytest

from enkash_coins.cli.exits import Exit
from enkash_coins.extras import lacking
from enkash_coins.sandbox import Fault, Sandbox
from tests.cli.command import Command, Done, Start, process_environment

GIFT = "allocate --company-id CEK1 --event REFERRAL_EVENT --user-id EK1"
GIFT_IN_DOUBT = (
    "It may have been applied: look with 'enkash-coins balance EK1' before it is sent again. "
    "Its request id, to ask about it or to send it again: r1"
)
NEW = "create --company-id CEK1 --event NEW --amount 6 --configuration DEFAULT"


def with_token_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token in the environment, instead of the parts of a login."""
    for name in ("CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"ENKASH_{name}")
    monkeypatch.setenv("ENKASH_TOKEN", "made-up")


def test_get_shows_the_configuration(sandbox: Sandbox, run: Command) -> None:
    """For people a line for each value, for machines one line of JSON; nothing else."""
    shown = run("get WCC12345")
    assert shown.out.splitlines() == [
        "coin_config_id  WCC12345",
        "configuration   DEFAULT",
        "event           INVOICE_PAYMENT",
        "amount          10",
    ]
    assert (shown.code, shown.err) == (0, "")
    read = run("get WCC12345 --json")
    assert json.loads(read.out) == {
        "coin_config_id": "WCC12345",
        "configuration": "DEFAULT",
        "event": "INVOICE_PAYMENT",
        "amount": 10,
        "company_id": None,
        "extra": {},
    }
    assert (read.code, read.err) == (0, "")


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ("--amount 0", {"amount": 0}),
        (
            "--configuration CUSTOM --event E --company-id CEK1",
            {"configuration": "CUSTOM", "event": "E", "companyId": "CEK1"},
        ),
    ],
)
def test_update_sends_what_is_given_and_nothing_else(
    sandbox: Sandbox, run: Command, options: str, body: dict[str, object]
) -> None:
    """Options that are left out are not sent; 0 is."""
    assert run(f"update WCC00001 {options}").code == 0
    assert json.loads(sandbox.requests[-1].body) == body


def test_create_shows_the_new_id(sandbox: Sandbox, run: Command) -> None:
    """The new configuration is shown, and is there."""
    made = json.loads(run(f"{NEW} --json").out)
    assert sandbox.configs[made["coin_config_id"]]["amount"] == 6


def test_allocate_shows_its_request_id(sandbox: Sandbox, run: Command) -> None:
    """The request id, made or given, is on the receipt; the user has the coins."""
    assert json.loads(run(f"{GIFT} --request-id order-1 --json").out)["request_id"] == "order-1"
    receipt = json.loads(run(f"{GIFT} --json").out)
    assert [gift["requestId"] for gift in sandbox.allocations] == ["order-1", receipt["request_id"]]
    assert run("balance EK1").out.splitlines()[1].startswith("balance  ")
    assert json.loads(run("balance EK1 --json").out)["balance"] > 0


def test_definite_no_is_exit_1_and_says_that_nothing_changed(sandbox: Sandbox, run: Command) -> None:
    """A refused write is one line on stderr; with --json one on stdout as well."""
    refused = run("update NOPE --amount 1")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "enkash-coins: update of NOPE: HTTP 404: No such coin configuration. Nothing was changed\n"
    error = json.loads(run("get NOPE --json").out)["error"]
    assert (error["type"], error["status"], error["maybe_applied"]) == ("NotFound", 404, False)


def test_repeated_request_id_is_not_taken_for_nothing(run: Command, sandbox: Sandbox) -> None:
    """The request is refused because coins were given under its id: nobody may read "nothing was changed" there."""
    assert run(f"{GIFT} --request-id order-1").code == 0
    again = run(f"{GIFT} --request-id order-1")
    assert again.code == 1
    assert "This one gave nothing, but an earlier one with its id may have: look before" in again.err
    assert "Nothing was changed" not in again.err
    assert len(sandbox.allocations) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "Renew ENKASH_TOKEN; if you log in, ask EnKash whether"), (403, "this machine's address on its allow-list")],
)
def test_first_refusals_of_a_new_account_say_whom_to_ask(start: Start, run: Command, status: int, advice: str) -> None:
    """A token or an address that is not known is no riddle of three digits."""
    start(faults=[Fault("html", on="get", status=status)])
    refused = run("get WCC12345")
    assert (refused.code, refused.err.count("\n")) == (4, 1)
    assert f"HTTP {status}" in refused.err
    assert advice in refused.err


@pytest.mark.parametrize(
    ("command", "code", "advice"),
    [
        (
            "update WCC00001 --amount 5",
            4,
            "It may have been applied: look with 'enkash-coins get WCC00001' before it is sent again",
        ),
        (f"{GIFT} --request-id r1", 6, GIFT_IN_DOUBT),
        (NEW, 6, "It may have been applied: to send it again could make a second one; ask EnKash first"),
    ],
)
def test_write_in_doubt_says_so_and_what_to_do(
    start: Start, run: Command, command: str, code: int, advice: str
) -> None:
    """When a write may have been applied, the one line says so, and how to find out.

    An allocation or creation in doubt counts for more than a host that failed; an update is simply sent again.
    """
    start(faults=[Fault("disconnect_after_apply", on=command.partition(" ")[0])])
    doubtful = run(f"{command} --retries 0")
    assert doubtful.code == code
    assert doubtful.err.rstrip("\n").endswith(f". {advice}")
    assert "request id r1" not in doubtful.err  # it is told once, in the advice


def test_update_in_doubt_that_then_gets_a_no_is_exit_6(start: Start, run: Command) -> None:
    """The host answers, and says no; but an earlier attempt may have been applied."""
    faults = [Fault("disconnect_after_apply", on="update", nth=1), Fault("operation_failed", on="update", nth=2)]
    start(faults=faults)
    doubtful = run("update WCC00001 --amount 5")
    assert doubtful.code == 6
    assert "It may have been applied" in doubtful.err


def test_machines_find_the_request_id_in_its_own_field(start: Start, run: Command) -> None:
    """The message is the same for every allocation, to be counted by."""
    start(faults=[Fault("disconnect_after_apply", on="allocate")])
    error = json.loads(run(f"{GIFT} --request-id r1 --retries 0 --json").out)["error"]
    assert error["request_id"] == "r1"
    assert "r1" not in error["message"]


def test_replay_sends_an_allocation_again(start: Start, run: Command) -> None:
    """In doubt an allocation is sent again only if the user says so."""
    sandbox = start(faults=[Fault("disconnect_before_apply", on="allocate", nth=1)])
    assert run(f"{GIFT} --replay").code == 0
    assert sandbox.calls["allocate"] == 2


def test_refused_login_is_exit_3_and_warns_of_the_lock(
    sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong password is one token request, and the user is told what more of them would do."""
    monkeypatch.setenv("ENKASH_PASSWORD", "wrong")
    refused = run("get WCC12345")
    assert refused.code == 3
    assert "Check the ENKASH_* credentials first: three refused logins in a row lock the account" in refused.err
    assert sandbox.calls == {"token": 1}


@pytest.mark.parametrize(
    "fault",
    [Fault("html", on="get", status=403), Fault("malformed", on="get"), Fault("server_error", on="get")],
    ids=lambda fault: fault.kind,
)
def test_host_that_refuses_all_is_exit_4(start: Start, run: Command, fault: Fault) -> None:
    """What speaks of the host as a whole has a code of its own."""
    start(faults=[fault])
    assert run("get WCC12345 --retries 0").code == 4


def test_unreachable_host_is_exit_4(sandbox: Sandbox, run: Command) -> None:
    """--base-url counts more than the environment; nobody listens there."""
    refused = run("update WCC12345 --amount 1 --retries 0 --base-url http://127.0.0.1:1 --json")
    assert refused.code == 4
    assert json.loads(refused.out)["error"]["type"] == "ConnectError"
    assert refused.err.endswith("Nothing was changed\n")
    assert sandbox.calls == {}


def test_options_reach_the_client(start: Start, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """--timeout ends an attempt, and --retries says how many there are."""
    sandbox = start(faults=[Fault("hang", on="get")])
    with_token_only(monkeypatch)
    assert run("get WCC12345 --timeout 0.2 --retries 1 --rate 1000 --concurrency 1").code == 4
    assert sandbox.calls == {"get": 2}


def test_remote_text_does_not_steer_the_terminal(sandbox: Sandbox, run: Command) -> None:
    """Control characters that the host sends are shown as such, and escaped in JSON."""
    sandbox.configs["WCC00001"]["event"] = "\x1b[2J\x9b1mX"
    assert run("get WCC00001").out.splitlines()[2] == "event           \ufffd[2J\ufffd1mX"
    assert run("get WCC00001 --json").out.isascii()


def test_unknown_keys_are_shown_too(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later version of the API adds is not hidden."""
    from enkash_coins import CoinEventConfig, CoinEventService

    async def get(_: object, name: str) -> CoinEventConfig:
        return CoinEventConfig(name, "DEFAULT", "E", 1, extra={"tier": ["gold"]})

    monkeypatch.setattr(CoinEventService, "get", get)
    assert run("get WCC00001").out.splitlines()[-1] == 'tier            ["gold"]'


MISUSE = [
    ("bogus", 'Unknown command "bogus"'),
    ("get", 'Command "get" parameter COIN_CONFIG_ID requires an argument.'),
    ("get A B", "Unused Tokens: ['B']."),
    ("get A --bogus", "Unknown option: --bogus."),
    ("get a/b", "coin_config_id: 'a/b' is not an id (1 to 64 of A-Z a-z 0-9 _ -)"),
    ("get ../x", "coin_config_id: '../x' is not an id (1 to 64 of A-Z a-z 0-9 _ -)"),
    ("update WCC12345", "update of WCC12345: nothing is set"),
    ("update WCC12345 --amount", 'Command "update" parameter --amount requires an argument.'),
    ("update WCC12345 --amount ten", "Invalid value for --amount: 'ten' is not an integer"),
    ("update WCC12345 --amount 10.5", "Invalid value for --amount: '10.5' is not an integer"),
    ("update WCC12345 --amount 1_0", "Invalid value for --amount: '1_0' is not an integer"),
    ("update WCC12345 --amount 1 --amount 2", "Parameter --amount specified multiple times."),
    (f"update WCC12345 --amount {2**63}", f"amount: {2**63} is not an integer of 64 bits"),
    ("create --company-id CEK1", 'Command "create" parameter --event requires an argument.'),
    (f"{GIFT} --request-id {'x' * 129}", f"request_id: '{'x' * 78}… is not 1 to 128 characters long"),
    ("get A --timeout 0", "timeout: 0.0 is not a positive number of seconds"),
    ("get A --timeout nan", "timeout: nan is not a positive number of seconds"),
    ("get A --rate -1", "rate: -1.0 is not a positive number of requests per second"),
    ("get A --concurrency 0", 'concurrency: 0 is neither a positive integer nor "auto"'),
    ("get A --retries -1", 'Invalid value "-1" for --retries. Must be >= 0.'),
    ("get A --base-url http://example.com", "base_url: must be https (http is for loopback only)"),
    ("get A --base-url https://user:password@example.com", "base_url: must not hold a user or password"),
    ("apply --bogus", 'Invalid value "--bogus" for FILE.'),
    ("apply missing.csv", "missing.csv: no such file or directory"),
    ("apply .", ".: is a directory"),
    ("sandbox --configs -1", "sandbox: configs must be 0 or more"),
    ("sandbox --rate 0", "sandbox: 'rate' must be > 0.0: 0.0"),
    (
        "sandbox --fault update:3=explode",
        "sandbox: 'update:3=explode' is no fault such as update:3=disconnect_after_apply: ",
    ),
    ("sandbox --port 65536", 'Invalid value "65536" for --port. Must be <= 65535.'),
    ("demo --rows 0", 'Invalid value "0" for --rows. Must be >= 1.'),
]


@pytest.mark.parametrize(("command", "line"), MISUSE, ids=[command[:60] for command, _ in MISUSE])
def test_misuse_is_one_line_and_exit_2(sandbox: Sandbox, run: Command, command: str, line: str) -> None:
    """Whatever is wrong with the arguments: one line that names it, exit 2, nothing sent."""
    done = run(command)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"enkash-coins: {line}")
    assert sandbox.calls == {}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"ENKASH_BASE_URL": ""}, "ENKASH_BASE_URL is not set: it is a required setting, never a guess"),
        ({"ENKASH_PASSWORD": ""}, "ENKASH_PASSWORD is not set"),
        ({"ENKASH_TOKEN": "secret"}, "both ENKASH_TOKEN and ENKASH_CLIENT_ID"),
    ],
)
def test_missing_or_contradicting_settings_are_one_line(
    sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], line: str
) -> None:
    """What is missing in the environment, or too much, is named; no value of it is shown."""
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    done = run("get WCC12345")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"enkash-coins: {line}")
    assert "secret" not in done.err
    assert sandbox.calls == {}


def test_token_of_the_environment_is_used(sandbox: Sandbox, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that somebody else looks after serves instead of a login."""
    with_token_only(monkeypatch)
    assert run("get WCC12345").code == 4
    assert sandbox.calls == {"get": 1}


@pytest.mark.parametrize("command", ["", "--help", "apply --help", "--version"])
def test_help_is_no_error(run: Command, command: str) -> None:
    """Help and version go to stdout, exit 0."""
    done = run(*command.split()) if command else run("--help")
    assert (done.code, done.err) == (0, "")
    assert done.out


def without(module: str) -> Done:
    """The command's help in a process in which the module cannot be imported."""
    code = f"import sys; sys.modules[{module!r}] = None; from enkash_coins.cli import main; sys.exit(main(['--help']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=process_environment()
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", ["--help", "get --help"])
def test_help_tells_where_credentials_come_from(run: Command, command: str) -> None:
    """No option takes them, so help names the variables, and the exit codes a script needs."""
    told = " ".join(run(command).out.split())
    for name in ("ENKASH_TOKEN", "ENKASH_CLIENT_ID", "ENKASH_CLIENT_SECRET", "ENKASH_USERNAME", "ENKASH_PASSWORD"):
        assert name in told
    for code in Exit:
        assert f"{code.value} " in told.partition("Exit codes: ")[2]


@pytest.mark.parametrize("command", ["get", "update", "allocate", "apply", "login", "sandbox", "demo"])
def test_help_shows_defaults_that_mean_something(run: Command, command: str) -> None:
    """A number that one may want to change is shown; that a flag is off is not news."""
    told = " ".join(run(f"{command} --help").out.replace("│", " ").split())
    assert "[default: " in told
    assert "[default: None]" not in told
    assert "[default: False]" not in told


@pytest.mark.parametrize("module", ["cyclopts", "rich"])
def test_without_the_extra_it_is_one_line(module: str) -> None:
    """Without the extra the command says how to get it: one line, exit 2."""
    line = f"enkash-coins: {lacking('this command', 'cli')}\n"
    assert without(module) == Done(2, "", line)


def test_other_missing_modules_are_not_blamed_on_the_extra() -> None:
    """A module of ours that is missing is a mistake of ours, and must be seen as such."""
    assert "ModuleNotFoundError" in without("enkash_coins.bulk").err


def test_an_encrypted_host_is_one_word_away(start: Start, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's variables switch encryption on, and so does an option; without the extra, the line is the command
    that installs it. The key may stand beside a token.
    """
    sandbox = start(encrypted=True)
    assert json.loads(run("update WCC00001 --amount 5 --json").out)["amount"] == 5
    monkeypatch.delenv("ENKASH_ENCRYPTED")
    assert run("update WCC00001 --amount 6").code == 1
    assert run("update WCC00001 --amount 6 --encrypted").code == 0
    with_token_only(monkeypatch)
    assert run("get WCC00001 --encrypted").err.startswith("enkash-coins: ENKASH_CLIENT_SECRET is not set: encryption")
    monkeypatch.setenv("ENKASH_CLIENT_SECRET", sandbox.client_secret)
    assert "HTTP 401" in run("get WCC00001 --encrypted").err
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    done = run("get WCC00001 --encrypted")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"enkash-coins: {lacking('PayloadEncryption', 'encryption')}\n"
