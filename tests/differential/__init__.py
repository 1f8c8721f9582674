"""The differential test: what a client gets through the proxy is what the server itself says.

Problem: a drop-in has to be one for every command, every error text and every order in which bytes
may come, and no list of cases written by hand covers that.

Idea: two twin servers, started the same way. The same seeded commands go to the one directly and to
the other through the proxy, and what comes back is compared as raw bytes. Commands are made from
the grammar that the server itself publishes (`COMMAND DOCS`), so a command that the next version
adds is covered by itself. They come one by one and pipelined, in fragments and inline, over several
connections whose order is fixed: a step begins only when the earlier ones were answered, so a reply
of the L1 that is older than the last write is a difference.

What cannot be equal is listed in `exclusions.py`, each with its reason; everything else is
byte-equal. Reads repeat, so that most of them are hits; a run with too few hits does not count.

A difference is shrunk to a short list of commands and printed.

    python -m tests.differential --commands 1000000 --seed 7 --protocol 3
    python -m tests.differential --garbage 100000
"""
