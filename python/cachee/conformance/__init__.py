"""Whether a client's cache is kept right by its server: every known way to be wrong, as a case.

Problem: what breaks a client-side cache is an order of bytes on two or more sockets, which a test
that only writes and reads meets once in ten thousand runs. And a cache that never answers passes
every such test.

Idea: a relay between the client and a real server holds, delays, swallows or cuts exactly the bytes
a case is about; a plain connection of the kit's own is the foreign writer. Before a case begins, a
read must have been answered while the server's own command counters stood still; without that
proof the case is not applicable, never passed. Every case runs in a process of its own with a
deadline; one that does not end has hung, and the evidence says where it stood.

Cost: a second or two a case, minutes where a client is given the time it asks for to notice.

Rejected: many rounds of random timing (finds races, proves nothing when it finds none); a scripted
server (what the server really sends, and when, is half of every defect).
"""

from __future__ import annotations
