"""Other proxies for Redis, each with the smallest configuration that passes all to one server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """A program and how to configure it: `configure(listen, upstream, password)`."""

    name: str
    program: str
    settings: str
    configure: Callable[[str, str, str], str]
    arguments: Callable[[Path, int], list[str]]
    note: str = ""


def _bare(address: str) -> str:
    """`HOST:PORT` or the path."""
    return address.removeprefix("tcp://").removeprefix("unix:")


def _twemproxy(listen: str, upstream: str, password: str) -> str:
    mode = " 0600" if listen.startswith("unix:") else ""
    return f"""bench:
  listen: {_bare(listen)}{mode}
  redis: true
  redis_auth: {password}
  hash: fnv1a_64
  distribution: modula
  preconnect: true
  servers:
   - {_bare(upstream)}:1 server
"""


def _twemproxy_arguments(settings: Path, spare_port: int) -> list[str]:
    return ["-c", str(settings), "-s", str(spare_port), "-a", "127.0.0.1"]


def _predixy(listen: str, upstream: str, password: str) -> str:
    return f"""Bind {_bare(listen)}
WorkerThreads 1
Authority {{
    Auth "{password}" {{
        Mode write
    }}
}}
StandaloneServerPool {{
    Password {password}
    Hash crc16
    Distribution modula
    Databases 1
    RefreshMethod fixed
    Group bench {{
        + {_bare(upstream)}
    }}
}}
"""


ENVOY_TYPES = "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3"


def _envoy(listen: str, upstream: str, password: str) -> str:
    return f"""static_resources:
  listeners:
  - address: {_envoy_address(listen)}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": {ENVOY_TYPES}.RedisProxy
          stat_prefix: bench
          settings: {{op_timeout: 5s}}
          prefix_routes: {{catch_all_route: {{cluster: server}}}}
          downstream_auth_passwords: [{{inline_string: "{password}"}}]
  clusters:
  - name: server
    type: STATIC
    load_assignment:
      cluster_name: server
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {_envoy_address(upstream)}}}}}]}}]
    typed_extension_protocol_options:
      envoy.filters.network.redis_proxy:
        "@type": {ENVOY_TYPES}.RedisProtocolOptions
        auth_password: {{inline_string: "{password}"}}
"""


def _envoy_address(address: str) -> str:
    if address.startswith("unix:"):
        return f'{{pipe: {{path: "{_bare(address)}"}}}}'
    host, _, port = _bare(address).rpartition(":")
    return f"{{socket_address: {{address: {host}, port_value: {port}}}}}"


def _envoy_arguments(settings: Path, _spare_port: int) -> list[str]:
    return ["-c", str(settings), "--concurrency", "1", "--log-level", "error"]


SHARES = "its clients share upstream connections"
PEERS = (
    Peer("twemproxy", "nutcracker", "peer.yml", _twemproxy, _twemproxy_arguments, SHARES),
    Peer("predixy", "predixy", "peer.conf", _predixy, lambda file, _port: [str(file)], SHARES),
    Peer("Envoy", "envoy", "peer.yaml", _envoy, _envoy_arguments, SHARES),
)
