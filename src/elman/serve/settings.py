"""Settings of the server: its address, who may ask, and every limit; flags of `elman serve`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from elman.errors import SettingsError
from elman.validation import Help

LEAST_TOKEN = 22  # characters; in base64 they hold 128 random bits


@dataclass(frozen=True)
class ServeSettings:
    """How a model is served. A request beyond a limit is refused before the network runs."""

    host: Annotated[str, Help("Address to listen on; any but loopback needs --public.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Ge(0), Le(65535), Help("Port to listen on; 0 chooses a free one.")] = 8000
    public: Annotated[
        bool, Help("Listen on an address that other machines reach; needs --token-file.")
    ] = False
    token: Annotated[
        str | None, Help("Secret that every request must carry: Authorization: Bearer TOKEN.")
    ] = None
    allow_host: Annotated[
        str,
        Help("Names, separated by commas, under which clients reach the server.", "IP addresses"),
    ] = ""
    max_body: Annotated[int, Ge(1), Help("Bytes of a request or message.")] = 2**20
    max_length: Annotated[int, Ge(1), Help("Steps of a sequence.")] = 10_000
    max_records: Annotated[int, Ge(1), Help("Sequences of a request.")] = 4096
    max_steps: Annotated[int, Ge(1), Help("Steps of all sequences of a request.")] = 100_000
    max_connections: Annotated[int, Ge(1), Help("Connections that are open at a time.")] = 1000
    queue: Annotated[int, Ge(1), Help("Requests that wait or are computed at a time.")] = 256
    max_batch: Annotated[int, Ge(1), Help("Sequences that are computed together.")] = 64
    latency_ms: Annotated[
        float, Ge(0), Help("Longest time in ms that a request waits for others of its batch.")
    ] = 2.0
    timeout: Annotated[
        float, Gt(0), Help("Seconds for a request to arrive, and for one to wait in the queue.")
    ] = 10.0

    poll: Annotated[
        float, Ge(0), Help("Seconds between two looks for another model in the folder; 0: none.")
    ] = 1.0

    max_streams: Annotated[int, Ge(1), Help("Connections of /stream that are open at a time.")] = (
        100
    )
    max_sequences: Annotated[int, Ge(1), Help("Sequences of a connection of /stream.")] = 100
    max_message: Annotated[int, Ge(1), Help("Bytes of a message of /stream.")] = 2**16
    stream_idle: Annotated[
        float, Gt(0), Help("Seconds without a message after which a stream is closed.")
    ] = 300.0

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise SettingsError(
                f"the token has {len(self.token)} characters, expected at least {LEAST_TOKEN}. To "
                "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))' > token.txt"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise SettingsError("the token: expected printable ASCII characters, in one line")
        if not self.is_loopback and not (self.public and self.token):
            raise SettingsError(
                f"host {self.host}: other machines reach it, so that --public and --token-file are "
                "needed. Leave --host out to serve this machine only"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a Host header may have, in lower case."""
        own = (name.strip().lower() for name in self.allow_host.split(","))
        return frozenset({"localhost", self.host.lower(), *own} - {""})
