"""The API server's flags."""

from __future__ import annotations

from dataclasses import dataclass

from linkerd import log
from linkerd.settings import setting


def _descriptors(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise ValueError("descriptor numbers such as 3,4") from None


@dataclass(frozen=True)
class Settings:
    """How one API server is started."""

    state: str = setting("", "folder of the cluster's state (required)")
    listen_fd: tuple[int, ...] = setting(
        (),
        "inherited listening sockets: the host's, then the one inside the node's network",
        parse=_descriptors,
    )
    ready_fd: int = setting(-1, "inherited pipe that is told when the API is ready")
    fresh: bool = setting(False, "the cluster was just started: no container runs yet")
    port: int = setting(6443, "port on 127.0.0.1 when no socket is inherited")
    cluster: str = setting("default", "name of the cluster")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "form of log lines", choices=log.FORMATS)


def with_repeated_descriptors(argv: list[str]) -> list[str]:
    """Returns flags with every `--listen-fd N` folded into one `--listen-fd=N,M`."""
    rest: list[str] = []
    numbers: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.lstrip("-").partition("=")
        if flag == "listen-fd" and word.startswith("-"):
            numbers.append(value if equals else (words.pop(0) if words else ""))
        else:
            rest.append(word)
    return [*rest, *([f"--listen-fd={','.join(numbers)}"] if numbers else [])]
