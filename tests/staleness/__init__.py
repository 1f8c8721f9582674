"""The staleness checker: writers with versions, readers that know what they may see, and faults.

Problem: a cache that is wrong for a moment, after a rare order of events, passes every test that
looks at single calls.

Idea: every key has exactly one writer, which writes 1, 2, 3, … and notes on a board, shared by all
processes, when the server acknowledged each version. Whoever reads checks what it got against the
board and against what its process had seen before it began:
  monotonic   no read gives less than an earlier read of the same process gave
  own write   a writer reads at least the version it has just been acknowledged
  P1          no version is read later than `max_staleness` after its successor was acknowledged
  expiry      no version of a key with a TTL is read after the end that TTL implies
  vanished    a key that exists is never read as missing
Readers and writers are threads and tasks here, a second process with cachee, and a foreign writer
without it. A seeded schedule injects faults: links cut, reset, held back, swallowed and fragmented
by a relay; connections killed by the server; the server killed and restarted, stopped and
continued; everything flushed and put back in one step.

The faults touch links, never the application's own connections, except for those that end them:
a write that is delayed and then overtaken would break the order of versions without any cache.

Cost: none for the product; a run says nothing unless most reads were hits, so the hit rate is
printed, and a run below 80 % does not count.

With `--through proxy` the same readers and writers are plain clients of one `cachee proxy`. There
is one L1 then, so more is owed: what was acknowledged to any of its clients is what every later
read of any of them gives. `--every-connection` lets the faults hit the proxy's private connections
too; calls they end fail, and a write that failed is made again with the same version.

    python -m tests.staleness --seconds 600 --seed 7
    python -m tests.staleness --seconds 600 --seed 7 --through proxy --every-connection
"""
