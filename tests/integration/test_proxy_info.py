"""`INFO` through `cachee proxy`: the server's own reply, with one section more where it belongs."""

import contextlib

import pytest

from tests.harness.proxies import proxy
from tests.harness.resp import Wire
from tests.harness.servers import Server


def _sections(text: object) -> list[str]:
    assert isinstance(text, bytes)
    return [line[2:] for line in text.decode().splitlines() if line.startswith("# ")]


@pytest.mark.parametrize("words", [(), ("all",), ("everything",), ("DEFAULT",), ("cachee", "cpu")])
def test_the_own_section_is_there(server: Server, words: tuple[str, ...]) -> None:
    with (
        proxy(upstream=f"redis://127.0.0.1:{server.port}") as front,
        contextlib.closing(Wire(("127.0.0.1", front.port))) as wire,
    ):
        through, direct = wire("INFO", *words), server.call("INFO", *words)
        assert _sections(through) == [*_sections(direct), "cachee"]
        assert b"cachee_connected_clients:1\r\n" in bytes(through)


@pytest.mark.parametrize("words", [("cpu",), ("modules",), ("no-such-section",), ("server", "cpu")])
def test_who_asks_for_others_is_not_told(server: Server, words: tuple[str, ...]) -> None:
    with (
        proxy(upstream=f"redis://127.0.0.1:{server.port}") as front,
        contextlib.closing(Wire(("127.0.0.1", front.port))) as wire,
    ):
        assert _sections(wire("INFO", *words)) == _sections(server.call("INFO", *words))
