"""`cachee proxy`: the L1 for every language, as a Redis server on a port of its own."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cachee import _proxy_settings, _settings
from cachee._errors import CacheeError
from cachee._proxy_settings import ProxySettings
from cachee._setting import Setting
from cachee._settings import Settings
from cachee._sources import load_proxy_settings, load_settings, settings_file

SUMMARY = "serve any Redis client, in any language, from an L1 beside it"
EPILOG = """\
Point the clients at the proxy instead of the server; every command is forwarded, reads that may be
are answered from memory. Once it serves, one line says where:

  ready tcp://127.0.0.1:6380 upstream redis://127.0.0.1:6379 pid 4242

examples:
  cachee proxy                                         an embedded Valkey behind it, to try it out
  cachee proxy --upstream redis://10.0.0.5:6379
  cachee proxy --listen unix:/run/cachee/cachee.sock --listen tcp://127.0.0.1:6380 \\
      --upstream rediss://cache.example.org:6380 --upstream-ca ca.pem
  cachee proxy --upstream redis+sentinel://10.0.0.5,10.0.0.6/main --admin 127.0.0.1:9091
  CACHEE_UPSTREAM=redis://:secret@10.0.0.5 cachee proxy   a password that `ps` does not show

It is ready when it listens. Whether the upstream answers, and if not why, say a line on standard
error when that changes, /readyz of --admin and `cachee stats`. SIGTERM and SIGINT let replies
under way out and end it (a second one at once);
blocked clients are not waited for. SIGHUP reads the limits again and names what has to wait for
the next start. Every setting has a flag, a variable (CACHEE_MAX_CLIENTS) and a place in
cachee.toml or in [tool.cachee] of pyproject.toml, in the working directory, or in the file that
CACHEE_CONFIG names; `cachee config` shows all of them with their defaults.

exit codes: 0 ended by a signal, 1 the same, but cut short by a second one, 2 a wrong setting, or an
address that cannot be listened on
"""

SECTIONS: Mapping[str, Mapping[str, Setting]] = {
    "proxy": _proxy_settings.TABLE,
    "L1": {name: row for name, row in _settings.TABLE.items() if name != "stats_socket"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag a setting."""
    for title, table in SECTIONS.items():
        group = parser.add_argument_group(f"settings of the {title}")
        for row in table.values():
            group.add_argument(
                row.flag,
                dest=f"setting_{row.name}",
                action="append" if row.name == "listen" else "store",
                metavar=row.unit.upper().replace(" ", "_"),
                help=f"{row.meaning} ({row.allowed})".replace("%", "%%"),
            )
    parser.add_argument("--json", action="store_true", help="print the ready line as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    from cachee.proxy import server

    def announce(ready: server.Ready) -> None:
        print(json.dumps({"ready": asdict(ready)}) if arguments.json else ready, flush=True)

    def of_the_l1() -> Settings:
        given = _given(arguments, SECTIONS["L1"])
        return load_settings(given, base=Settings(stats_socket=True), source="a flag")

    def reread() -> ProxySettings:
        if file is not None and not file.is_file():
            raise CacheeError(f"{file} has gone")
        now = of_the_l1()
        changed = [
            name
            for name, row in SECTIONS["L1"].items()
            if getattr(now, row.field_name) != getattr(settings, row.field_name)
        ]
        if changed:
            _say(f"changed, but only for the next start: {', '.join(changed)}")
        return _own(arguments)

    file, settings = settings_file(os.environ, Path()), of_the_l1()
    return server.serve(
        settings,
        _own(arguments),
        reread=reread,
        announce=announce,
        say=_say,
    )


def _own(arguments: argparse.Namespace) -> ProxySettings:
    return load_proxy_settings(_given(arguments, SECTIONS["proxy"]), source="a flag")


def _given(arguments: argparse.Namespace, table: Mapping[str, Setting]) -> dict[str, object]:
    return {name: getattr(arguments, f"setting_{name}") for name in table}


def _say(text: str) -> None:
    print(f"cachee proxy: {text}", file=sys.stderr, flush=True)
