"""One case of one client, in a process that may be killed: `child CLIENT CASE`, the URL on stdin.

Every line of standard output is JSON: `{"at": …}` for where it stands, and at the end
`{"outcome": …, "evidence": …, "seconds": …}`. The process then ends at once, since a client whose
threads hang would keep it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback

from cachee._errors import CacheeError
from cachee.conformance.case import all_cases
from cachee.conformance.clients import adapter
from cachee.conformance.relay import Relay
from cachee.conformance.server import Server
from cachee.conformance.stage import Stage, of_error
from cachee.conformance.verdict import Outcome, VerdictError


def main(client: str, name: str) -> None:
    """Plays the case and tells how it ended."""
    url = sys.stdin.readline().strip()
    server = Server(url)
    began = time.monotonic()
    with Relay(server.endpoint) as relay:
        stage = Stage(adapter(client), server, relay, lambda where: _say(at=where))
        try:
            outcome, evidence = Outcome.PASS, all_cases()[name].play(stage)
        except VerdictError as verdict:
            outcome, evidence = verdict.outcome, str(verdict)
        except CacheeError as error:
            _say(error=str(error))
            _leave()
        except Exception as error:  # noqa: BLE001 - whatever a client raises is what it does
            traceback.print_exc()
            told = of_error(error, f"{stage.at}: a call")
            outcome, evidence = told.outcome, str(told)
        _say(outcome=outcome.value, evidence=evidence, seconds=time.monotonic() - began)
        stage.close()
        _leave()


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _leave() -> None:
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
