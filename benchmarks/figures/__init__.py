"""One file a figure, of one shape: NAME, TITLE, METHOD, CONTENDERS, run(session), checks(result).

A figure whose rows are not those of a contest says so with COLUMNS.
"""

ORDER = (
    "hit_sync",
    "hit_async",
    "hit_commands",
    "mget",
    "miss",
    "writes",
    "cold_key",
    "invalidation",
    "cache_get",
    "cache_many",
    "cache_fill",
    "memory",
    "hit_ratio",
    "proxy",
    "prediction_traces",
    "prediction_chains",
)
