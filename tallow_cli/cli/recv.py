"""`tallow recv`: take a code, show the offer, receive."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tallow_cli.cli import options
from tallow_cli.cli.environment import environment_of
from tallow_cli.cli.sources import is_typed
from tallow_cli.errors import InputNeeded

if TYPE_CHECKING:
    from tallow_cli.cli.drive import Emit
    from tallow_cli.session.events import Done

HELP = "Receive what a sender offers under CODE. Nothing is overwritten unless you say so."
SUMMARY = "Receive what a sender offers under a code."
EXAMPLES = """\
tallow recv 4821-acorn-blend-crisp
tallow recv 4821-acorn-blend-crisp -o ~/Downloads
tallow recv 4821-acorn-blend-crisp -o - | tar x
"""


def complete_code(incomplete: str) -> list[str]:
    """For the shell's Tab: the codes that `incomplete` may become, by its last word."""
    from tallow_cli.crypto.codes import complete

    return list(complete(incomplete))


def _again(context: typer.Context, output: str | None, policy: str | None, server: str | None) -> str:
    """The command that receives into the same place, in the same way; it asks for the code."""
    words = ["tallow", "recv"]
    if output is not None:
        words += ["-o", output]
    if policy is not None:
        words += ["--on-conflict", policy]
    if server is not None and is_typed(context, "server"):
        words += ["--server", server]
    return shlex.join(words)


def command(
    context: typer.Context,
    code_words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CODE", help="The sender's code; asked for if absent.", autocompletion=complete_code
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Directory to receive into (NAME/ is made if missing), name for one file, or - for standard output.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accept without asking.", rich_help_panel=options.OUTPUT)
    ] = False,
    on_conflict: Annotated[
        str | None,
        typer.Option(
            "--on-conflict",
            metavar=options.metavar(options.ConflictChoice),
            autocompletion=options.completing(options.ConflictChoice),
            help="Where a name is taken: refuse (the default; a terminal is asked), rename, skip what has the same size"
            " and time, update what differs, or overwrite.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    no_resume: Annotated[
        bool,
        typer.Option(
            "--no-resume",
            help="Start over: use nothing that an interrupted receive left, and leave nothing.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="Refuse an offer larger than this (1.5GB, 200MiB), and stop a stream at it.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    server: options.Server = None,
    local: options.Local = False,
    code: options.CodeOption = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help=f"How long to wait for the sender, {options.DEFAULT_FIND} unless given, and for its offer.",
            rich_help_panel=options.RENDEZVOUS,
        ),
    ] = None,
    reconnect_for: options.ReconnectFor = options.DEFAULT_RECONNECT,
    interface: options.Interface = None,
    udp_ports: options.UdpPorts = None,
    ice_server: options.IceServers = None,
    ice_user: options.IceUser = None,
    relay_only: options.RelayOnly = False,
    channels: options.Channels = options.MAX_CHANNELS,
    reliable: options.Reliable = False,
    max_retransmits: options.MaxRetransmits = None,
    buffer_high: options.BufferHigh = None,
    buffer_low: options.BufferLow = None,
    no_encrypt: options.NoEncrypt = False,
    engine: options.Engine = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    trace: options.Trace = None,
    no_input: options.NoInput = False,
) -> int:
    """Run `tallow recv`; the parameters are its options. Returns the exit code."""
    from tallow_cli.cli.code_entry import CodeReader
    from tallow_cli.cli.consent import Consent
    from tallow_cli.cli.drive import drive
    from tallow_cli.cli.prompt import CODE_OPTIONS, ask_code
    from tallow_cli.cli.readiness import check_ready_to_receive
    from tallow_cli.cli.settings import chosen_server, link_settings, naming_server, show
    from tallow_cli.cli.trace_option import tracing
    from tallow_cli.cli.ways import check_relay_only, with_ways
    from tallow_cli.meeting.server_url import normalize_server_url
    from tallow_cli.offer.name_rules import POSIX
    from tallow_cli.session.receive import receive
    from tallow_cli.session.settings import ReceiveSettings, Waits
    from tallow_cli.store.name_probe import rules_at

    environment = environment_of(context)
    link = with_ways(
        link_settings(
            engine=engine,
            channels=channels,
            mode="balanced",
            reliable=reliable,
            max_retransmits=max_retransmits,
            buffer_high=buffer_high,
            buffer_low=buffer_low,
            limit=None,
            no_encrypt=no_encrypt,
        ),
        environment.variables,
        interface=interface,
        udp_ports=udp_ports,
        servers=ice_server,
        ice_user=ice_user,
        ice_user_typed=is_typed(context, "ice_user"),
        relay_only=relay_only,
    )
    wait_s = None if timeout is None else options.wait_option("--timeout", timeout)
    max_bytes = None if max_size is None else options.size_option("--max-size", max_size)
    policy = on_conflict and options.choice_option("--on-conflict", on_conflict, options.ConflictChoice)
    output = options.path_option("--output", output)
    conflict = None if policy is None else options.ConflictChoice(policy)
    can_ask = environment.can_ask(no_input=no_input or json)
    meeting_at = chosen_server(context, server, local=local)
    renderer = show(
        environment,
        json=json,
        quiet=quiet,
        verbose=verbose,
        stdout_is_data=output == "-",
        go_on=_again(context, output, policy, meeting_at),
    )
    waits = Waits(reconnect_s=options.reconnect_option(reconnect_for))
    if wait_s is not None:
        waits = replace(waits, peer_s=wait_s, find_s=wait_s)
    reader = CodeReader(environment, context, shown=not json)
    entered = reader.given(code_words, code)
    if entered is None and not can_ask:
        raise InputNeeded("The code", CODE_OPTIONS)
    check_ready_to_receive(
        environment, output=output, yes=yes, on_conflict=conflict, can_ask=can_ask, json=json
    )
    with tracing(trace, environment, "receiver") as told:
        entered = entered or ask_code(environment, reader.read)
        if entered.server is not None and not local and not is_typed(context, "server"):
            meeting_at = normalize_server_url(entered.server)
        check_relay_only(link, meeting_at, "looking for the sender on the local network")
        settings = ReceiveSettings(
            code=entered.code,
            server=meeting_at,
            link=replace(link, trace=told),
            waits=waits,
            max_bytes=max_bytes,
            names=POSIX if output == "-" else rules_at(output or os.curdir),
        )
        consent = Consent(
            environment, output=output, yes=yes, on_conflict=conflict, can_ask=can_ask, resume=not no_resume
        )

        async def session(emit: Emit) -> Done:
            with naming_server(context, local=local or entered.server is not None):
                return await receive(settings, emit, consent.decide, consent.foresee)

        return drive(session, renderer, environment)
