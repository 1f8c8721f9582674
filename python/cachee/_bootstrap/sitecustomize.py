"""Put first on PYTHONPATH by `cachee run`: installs cachee, then runs the sitecustomize it hides.

A program must start whatever happens here, so every failure but a wrong setting is one line on
stderr. A wrong setting ends the program: it was found before the start unless a child changed it.
"""

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path


def _hidden_sitecustomize(here: Path) -> None:
    """Run the sitecustomize that would have been imported without this directory."""
    path = [entry for entry in sys.path if Path(entry).resolve() != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _install() -> None:
    """`import cachee.auto`; a Python without cachee says so if it is the program itself."""
    try:
        import cachee.auto  # noqa: F401  # installing is what the import is for
    except ModuleNotFoundError as error:
        other_environment = error.name is not None and error.name.partition(".")[0] == "cachee"
        if not other_environment or os.environ.get("CACHEE_INTERNAL_PID") == str(os.getpid()):
            sys.stderr.write(f"cachee run: {sys.executable} runs without it: {error}\n")
    except ImportError as error:
        sys.stderr.write(f"cachee run: {sys.executable} runs without it: {error}\n")
    except ValueError as error:
        sys.stderr.write(f"cachee run: {error}\n")
        os._exit(2)


_install()
_hidden_sitecustomize(Path(__file__).resolve().parent)
