"""Ordinary programs, one for each real client, run against the server and through the proxy.

Every program does the same script and prints one JSON line a step, `{"step": …, "reply": …}`:

    strings      binary, empty, missing and 1 MB values, counters, ranges, SET's options
    hashes, lists, sets, sorted sets, keys
    pipeline     100 commands in one write, a failing one among them
    transaction  MULTI/EXEC, DISCARD where the client has it
    watch        EXEC that succeeds, EXEC that another connection's write aborts
    pubsub       channels and patterns, published by another connection; used on afterwards
    blocking     BLPOP that another connection serves, BLPOP that times out
    lua          EVAL, SCRIPT LOAD, EVALSHA, NOSCRIPT, RESP3 types, a script's own error
    scan         SCAN and HSCAN to the end
    errors       WRONGTYPE, an unknown command, a wrong argument
    database     SELECT of another database
    steady       the same few keys read again and again by two connections
    together     many threads or tasks on one client, where it has them
    hot          reads around writes: own, another connection's, in MULTI, by scripts, by time

Unordered replies are sorted and nothing depends on time, addresses or ids, so that two runs against
fresh servers print the same bytes. What the client libraries make of a reply is part of the line.

A program finds its server in STORE_HOST, STORE_PORT, STORE_PROTOCOL (2 or 3), and, where they are
set, STORE_CA (TLS, trusting that file), STORE_USER and STORE_PASSWORD.
"""
