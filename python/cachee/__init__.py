"""An in-process L1 for redis-py and valkey-py that the server itself keeps coherent.

>>> import cachee
>>> cachee.install()
>>> cachee.stats().mode
'on'
>>> cachee.uninstall()
"""

from cachee._cache import Cache
from cachee._core import __version__
from cachee._errors import (
    CacheeError,
    MissingExtraError,
    NotAvailableError,
    ProcessNotFoundError,
    SettingsError,
)
from cachee._explain import Explanation
from cachee._lifecycle import explain, install, stats, uninstall
from cachee._settings import Override, Settings
from cachee._snapshot import LinkSnapshot, Snapshot

__all__ = [
    "Cache",
    "CacheeError",
    "Explanation",
    "LinkSnapshot",
    "MissingExtraError",
    "NotAvailableError",
    "Override",
    "ProcessNotFoundError",
    "Settings",
    "SettingsError",
    "Snapshot",
    "__version__",
    "explain",
    "install",
    "stats",
    "uninstall",
]
