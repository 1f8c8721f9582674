"""`import cachee.auto` is `cachee.install()` with the settings of file and environment.

For programs whose start you can edit, as the very first import; for those you cannot, there is
`cachee run -- COMMAND`. With gevent, import it after `monkey.patch_all()` or before, either works:
nothing of redis, valkey or ssl is imported by it. The process then answers `cachee stats`.

>>> import cachee.auto
>>> cachee.uninstall()
"""

from cachee import _lifecycle

_lifecycle.install_automatically()
