"""The L1 by itself: any Python object, bounded in bytes, with deadlines and tags.

Needs no server: python examples/object_cache.py
"""

from concurrent.futures import ThreadPoolExecutor

import cachee

cache = cachee.Cache(max_memory="16mb", ttl=30)
loads: list[int] = []


def load_report(number: int) -> dict[str, int]:
    """Stands for a second of work."""
    loads.append(number)
    return {"number": number, "total": number * 100}


def report(number: int) -> dict[str, int]:
    """Loaded once, however many threads ask at the same time."""
    return cache.get_or_load(f"report:{number}", lambda: load_report(number), tags=["reports"])


def main() -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(report, [7] * 100))
    assert loads == [7]
    assert results[0]["total"] == 700

    assert cache.invalidate_tag("reports") == 1
    report(7)
    assert loads == [7, 7]
    print(cache.stats())


if __name__ == "__main__":
    main()
