"""Every exception cachee raises, one tree.

    CacheeError
    ├── SettingsError            a setting with a wrong name or value (also a ValueError)
    ├── NotAvailableError        a promised part that this version does not have yet
    ├── MissingExtraError        an optional dependency is not installed (also an ImportError)
    └── ProcessNotFoundError     `cachee stats` found no process to ask

The redis and valkey integrations raise none of these into a request: there, a call either gets its
answer or goes to the store through the client's own connection and gets the client's own exception.
"""

from __future__ import annotations

__all__ = [
    "CacheeError",
    "MissingExtraError",
    "NotAvailableError",
    "ProcessNotFoundError",
    "SettingsError",
]


class CacheeError(Exception):
    """Base of everything cachee raises.

    >>> issubclass(SettingsError, CacheeError)
    True
    """


class SettingsError(CacheeError, ValueError):
    """A setting that does not exist, or a value it does not allow.

    `setting` is its name, `value` what was given (a str), `allowed` what would have been right and
    `source` where it was read ("argument", an environment variable, a file or a flag).

    >>> error = SettingsError("mode", "maybe", "on, observe or off", "CACHEE_MODE")
    >>> str(error)
    "mode = 'maybe' (from CACHEE_MODE): allowed is on, observe or off"
    """

    def __init__(self, setting: str, value: object, allowed: str, source: str = "argument") -> None:
        self.setting = setting
        self.value = str(value)
        self.allowed = allowed
        self.source = source
        super().__init__(setting, self.value, allowed, source)

    def __str__(self) -> str:
        return f"{self.setting} = {self.value!r} (from {self.source}): allowed is {self.allowed}"


class NotAvailableError(CacheeError):
    """Something cachee's design has and this version does not.

    >>> raise NotAvailableError("doctor for PostgreSQL")
    Traceback (most recent call last):
    ...
    cachee._errors.NotAvailableError: doctor for PostgreSQL is not available yet
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.what} is not available yet"


class MissingExtraError(CacheeError, ImportError):
    """An optional dependency is missing; `extra` names what to install.

    >>> str(MissingExtraError("fastapi", "demo"))
    "fastapi is not installed: pip install 'cachee[demo]'"
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(package, extra)

    def __str__(self) -> str:
        return f"{self.package} is not installed: pip install 'cachee[{self.extra}]'"


class ProcessNotFoundError(CacheeError):
    """No running process under cachee answers for statistics."""
