"""Where a received offer goes, and whether it is wanted: options first, a person where they leave a choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.options import ConflictChoice
from tallow_cli.cli.prompt import ask
from tallow_cli.core.manifest import Manifest
from tallow_cli.errors import BadOption, Declined, InputNeeded, TargetExists
from tallow_cli.store.destination import sink_for
from tallow_cli.store.sink import Conflict, OnConflict, Sink
from tallow_cli.ui import sanitize
from tallow_cli.ui.output import Output

if TYPE_CHECKING:
    from tallow_cli.ui.renderer import Renderer

_CONFLICTS_SHOWN = 5
_ANSWERS = {"r": OnConflict.RENAME, "o": OnConflict.OVERWRITE}


class Consent:
    """Decides about one offer. The renderer has shown it by then."""

    def __init__(
        self,
        environment: Environment,
        renderer: Renderer,
        *,
        output: str | None,
        yes: bool,
        on_conflict: ConflictChoice | None,
        can_ask: bool,
    ) -> None:
        self._environment = environment
        self._renderer = renderer
        self._output = output
        self._yes = yes
        self._on_conflict = OnConflict(on_conflict.value) if on_conflict else None
        self._can_ask = can_ask

    async def decide(self, manifest: Manifest) -> Sink:
        """The sink for this offer.

        Raises Declined, InputNeeded where nobody can be asked, TargetExists, TargetNotDirectory, BadOption.
        """
        if manifest.kind == "text" and self._output is None:
            return self._sink(manifest, OnConflict.REFUSE)  # shown, and nothing else: no consent needed
        sink = self._sink(manifest, self._on_conflict or OnConflict.REFUSE)
        conflicts = sink.conflicts(manifest)
        if conflicts and self._on_conflict is None:
            return self._sink(manifest, await self._ask_about(conflicts))
        if not self._yes:
            await self._ask_for_consent()
        return sink

    def _sink(self, manifest: Manifest, policy: OnConflict) -> Sink:
        stdout = self._environment.stdout
        if self._output == "-" and stdout.isatty() and manifest.kind != "text":
            raise BadOption("--output", "standard output is a terminal; redirect it to a file or a pipe")
        return sink_for(self._output, manifest, policy, stdout_fd=stdout.fileno())

    async def _ask_for_consent(self) -> None:
        if not self._can_ask:
            raise InputNeeded("Your consent to receive this", "--yes")
        if await self._ask("Receive this? [y/N] ") not in ("y", "yes"):
            raise Declined

    async def _ask_about(self, conflicts: list[Conflict]) -> OnConflict:
        """One question for the offer and its conflicts."""
        if not self._can_ask or self._yes:
            raise TargetExists(conflicts[0].path)
        out = Output(self._environment.stderr)
        for conflict in conflicts[:_CONFLICTS_SHOWN]:
            out.line(f"  exists already: {sanitize.name(conflict.path)} ({conflict.existing_kind})")
        if len(conflicts) > _CONFLICTS_SHOWN:
            out.line(f"  … and {len(conflicts) - _CONFLICTS_SHOWN} more")
        answer = await self._ask(
            "Receive it and [r]ename, receive it and [o]verwrite, or [n]othing? [r/o/N] "
        )
        policy = _ANSWERS.get(answer[:1])
        if policy is None:
            raise Declined
        return policy

    async def _ask(self, question: str) -> str:
        return await ask(self._environment, question)
