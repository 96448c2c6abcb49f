"""Every module has a test file of its name at its place, or says here where it is tested and why there."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"

# Modules whose tests stand elsewhere: (where, why).
ELSEWHERE = {
    "store/limits.py": ("unit/store/test_directory_sink.py", "numbers, tested where they bound something"),
    "dataplane/association_words.py": (
        "unit/dataplane/test_association.py",
        "words without a life of their own",
    ),
    "transfer/options.py": ("unit/transfer/test_sender.py", "what machines are made with"),
    "errors/connection.py": ("unit/errors/test_base.py", "the tree of all errors is checked as one"),
    "errors/files.py": ("unit/errors/test_base.py", "the tree of all errors is checked as one"),
    "errors/meeting.py": ("unit/errors/test_base.py", "the tree of all errors is checked as one"),
    "errors/program.py": ("unit/errors/test_base.py", "the tree of all errors is checked as one"),
    "errors/usage.py": ("unit/errors/test_base.py", "the tree of all errors is checked as one"),
    "bench/bare.py": ("e2e/test_bench.py", "a process of its own that speaks with another"),
    "bench/runner.py": ("e2e/test_bench.py", "starts processes and waits for them"),
    "bench/worker.py": ("e2e/test_bench.py", "a process of its own"),
    "cli/bench.py": ("e2e/test_bench.py", "options become a run of processes"),
    "cli/help.py": ("unit/cli/test_app.py", "what people see of it is the program's help"),
    "cli/recv.py": ("e2e/test_transfer.py", "options become a session"),
    "cli/serve.py": ("unit/signaling/test_options.py", "it is the server's own command"),
    "cli/sources.py": ("unit/cli/test_app.py", "blames come out of the whole command line"),
    "dataplane/congestion/bbr_model.py": (
        "unit/dataplane/congestion/test_bbr.py",
        "known by what is made of it",
    ),
    "meeting/mdns.py": ("e2e/test_mdns_on_loopback.py", "multicast on a real interface"),
    "meeting/signaling_client.py": (
        "security/test_hostile_signaling_server.py",
        "real sockets, hostile servers",
    ),
    "meeting/websocket.py": ("security/test_hostile_signaling_server.py", "real sockets, hostile servers"),
    "session/events.py": ("unit/ui/test_jsonlines.py", "types alone; their public form is the JSON"),
    "session/meeting.py": ("unit/session/test_connection.py", "both sides of one meeting"),
    "session/receive.py": ("unit/session/test_send_and_receive.py", "both sides of one transfer"),
    "session/receive_attempt.py": ("unit/session/test_reconnecting.py", "one connection of many"),
    "session/receiving.py": ("unit/session/test_send_and_receive.py", "both sides of one transfer"),
    "session/send.py": ("unit/session/test_send_and_receive.py", "both sides of one transfer"),
    "session/sending.py": ("unit/session/test_send_and_receive.py", "both sides of one transfer"),
    "store/filesystem.py": (
        "security/test_filesystem_attacks.py",
        "what it must withstand",
    ),
    "store/memory_source.py": ("unit/store/test_source.py", "every kind of source keeps one protocol"),
    "store/scan.py": ("unit/store/test_file_source.py", "what a walk finds is what is offered"),
    "store/selection.py": ("unit/store/test_file_source.py", "what is selected is what is offered"),
    "store/sink.py": ("unit/store/test_directory_sink.py", "a Protocol; each sink's test holds it to it"),
    "store/stream_source.py": ("unit/store/test_source.py", "every kind of source keeps one protocol"),
    "store/tree.py": ("unit/store/test_directory_sink.py", "directories and links of one receive"),
    "transfer/driving.py": (
        "unit/transfer/test_sender.py",
        "a contract: its machines' tests hold them to it",
    ),
    "transfer/endpoint.py": ("unit/transfer/test_receiver.py", "the base of both machines"),
    "ui/sink.py": ("unit/ui/test_renderer.py", "a Protocol; each renderer's test holds it to it"),
    "ui/wording.py": ("unit/ui/test_plain.py", "sentences are read where they are shown"),
    "webrtc/dtls_batch.py": ("unit/webrtc/test_turbo_sctp.py", "a transport is tested between two ends"),
    "signaling/listener.py": ("e2e/test_signaling_wire.py", "real sockets"),
    "signaling/gate.py": ("security/test_signaling_server_limits.py", "real sockets, hostile clients"),
    "signaling/server.py": ("e2e/test_signaling_wire.py", "real sockets"),
    "signaling/stun_sockets.py": ("e2e/test_stun_server.py", "real sockets"),
}

# Test files that are about no one module: why.
WITHOUT_A_MODULE = {
    "session/test_send_and_receive.py": "both sides of one transfer at once",
    "store/test_file_source_attempts.py": "one file source over several attempts",
    "test_cli_reference.py": "the generated page",
    "test_dependencies.py": "pyproject.toml and the lock",
    "test_mirrored_tree.py": "this",
    "test_no_patching.py": "all tests",
}


def modules() -> list[str]:
    """Paths below `tallow_cli/`, and those of the server with their package: the places that tests/unit mirrors."""
    house = [path.relative_to(ROOT / "tallow_cli") for path in (ROOT / "tallow_cli").rglob("*.py")]
    server = [path.relative_to(ROOT) for path in (ROOT / "signaling").rglob("*.py")]
    return sorted(path.as_posix() for path in house + server if not path.name.startswith("__"))


def file_of(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}" if folder else f"test_{name}"


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_test_file_of_its_name_or_a_reason(module: str) -> None:
    if (UNIT / file_of(module)).exists():
        assert module not in ELSEWHERE, "it has its own file now: take it off the list"
    else:
        assert module in ELSEWHERE, f"write tests/unit/{file_of(module)}"
        where, _ = ELSEWHERE[module]
        assert (ROOT / "tests" / where).exists()


def test_every_row_of_the_list_is_a_module() -> None:
    assert set(ELSEWHERE) - set(modules()) == set()


def test_every_test_file_is_a_modules_or_says_what_it_is_about() -> None:
    mirrored = {file_of(module) for module in modules()}
    found = {path.relative_to(UNIT).as_posix() for path in UNIT.rglob("test_*.py")}
    assert found - mirrored == set(WITHOUT_A_MODULE)
