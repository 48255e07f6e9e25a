"""From a `KubeConfig` to what a request carries: headers and a TLS context.

Tokens rotate under us: a token file is read again every minute, an exec plugin is run again when
its credential expires, and both at once when the server answers 401 (`invalidate`).
Source: kubernetes/client-go transport/token_source.go, plugin/pkg/client/auth/exec.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from linkerd.errors import Unavailable
from linkerd.kube.config import ExecPlugin, KubeConfig
from linkerd.kube.http import Headers

_TOKEN_FILE_AGE_S = 60.0
_EXEC_TIMEOUT_S = 60.0


class Authenticator:
    """Holds the current credential of one client; refreshed when asked, never in the background."""

    def __init__(self, config: KubeConfig) -> None:
        self._config = config
        self._token = config.token
        self._cert_pem, self._key_pem = config.cert_pem, config.key_pem
        self._fresh_until_s = 0.0
        self._context: ssl.SSLContext | None = None

    def invalidate(self) -> bool:
        """Forgets what can be read again; returns whether a retry may help."""
        self._fresh_until_s = 0.0
        return bool(self._config.token_file or self._config.exec)

    async def headers(self) -> Headers:
        """Returns the request headers that identify us.

        Raises:
            Unavailable: the exec plugin failed.
        """
        if time.monotonic() >= self._fresh_until_s:
            await self._refresh()
        headers: Headers = {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        elif self._config.username:
            pair = f"{self._config.username}:{self._config.password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        if self._config.impersonate_user:
            headers["Impersonate-User"] = self._config.impersonate_user
        if self._config.impersonate_groups:
            headers["Impersonate-Group"] = self._config.impersonate_groups
        return headers

    def tls(self) -> ssl.SSLContext | None:
        """Returns the TLS context of the current credential; None for a plain-text server."""
        if not self._config.server.startswith("https://"):
            return None
        if self._context is None:
            self._context = _context(self._config, self._cert_pem, self._key_pem)
        return self._context

    async def _refresh(self) -> None:
        if self._config.exec is not None:
            await self._run_plugin(self._config.exec)
        elif self._config.token_file:
            with contextlib.suppress(OSError):  # keep the old one while the file is swapped
                self._token = _read(self._config.token_file) or self._token
            self._fresh_until_s = time.monotonic() + _TOKEN_FILE_AGE_S
        else:
            self._fresh_until_s = float("inf")

    async def _run_plugin(self, plugin: ExecPlugin) -> None:
        status = await _exec_credential(plugin, self._config)
        self._token = str(status.get("token", "")) or self._config.token
        cert, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if cert and key and cert != self._cert_pem:
            self._cert_pem, self._key_pem, self._context = str(cert), str(key), None
        self._fresh_until_s = float("inf")
        expires = status.get("expirationTimestamp")
        if expires:
            left_s = datetime.fromisoformat(str(expires)).timestamp() - time.time()
            self._fresh_until_s = time.monotonic() + max(left_s - 10.0, 1.0)


def _read(path: str) -> str:
    return Path(path).read_text().strip()


def _context(config: KubeConfig, cert_pem: str, key_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif config.ca_pem:
        context.load_verify_locations(cadata=config.ca_pem)
    else:
        context.load_default_certs()
    if cert_pem and key_pem:
        with _private_file(cert_pem + "\n" + key_pem) as path:
            context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _private_file(text: str) -> Iterator[str]:
    """Lends a file that only we can read: `ssl` takes keys from files alone."""
    handle, path = tempfile.mkstemp(prefix="l5d-", suffix=".pem")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        yield path
    finally:
        os.unlink(path)


async def _exec_credential(plugin: ExecPlugin, config: KubeConfig) -> dict[str, Any]:
    info: dict[str, Any] = {
        "apiVersion": plugin.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    if plugin.provide_cluster_info:
        info["spec"]["cluster"] = {
            "server": config.server,
            "certificate-authority-data": base64.b64encode(config.ca_pem.encode()).decode(),
        }
    environment = {**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Unavailable(
            f"exec plugin {plugin.command} cannot be started: {error.strerror}",
            hint=plugin.install_hint or None,
        ) from None
    try:
        async with asyncio.timeout(_EXEC_TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Unavailable(f"exec plugin {plugin.command} gave no answer in 60s") from None
    if process.returncode != 0:
        raise Unavailable(f"exec plugin {plugin.command} exited with {process.returncode}")
    try:
        status = json.loads(out)["status"]
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"exec plugin {plugin.command} printed no ExecCredential") from None
    if not isinstance(status, dict):
        raise Unavailable(f"exec plugin {plugin.command} printed no ExecCredential")
    return status
