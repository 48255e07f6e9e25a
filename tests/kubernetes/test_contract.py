"""The embedded API server and Kubernetes' own answer the same requests alike.

Each scenario runs against both, in a namespace of its own, and what it saw is compared word for
word, piece by piece; nothing is expected that the real server does not say. What is known to differ
is listed in `contract/differences.py`; what is listed there must differ, so the list cannot rot.
"""

from __future__ import annotations

import base64
import difflib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from tests.kubernetes.bed import cluster
from tests.kubernetes.bed.paths import Paths
from tests.kubernetes.contract import access, admission, crds, discovery, reading, writing
from tests.kubernetes.contract import hooks as hooks_program
from tests.kubernetes.contract.api import Api, parts
from tests.kubernetes.contract.differences import DISCOVERY, KNOWN
from tests.kubernetes.contract.objects import WIDGETS
from tests.wire.local_server import running

pytestmark = pytest.mark.timeout(180)

_HOOKS_PORT = 18443


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Api]]:
    """The real API server and the embedded one, each with the webhooks in its reach."""
    bed = Paths("test-contract")
    with ExitStack() as stack:
        embedded = stack.enter_context(running(tmp_path_factory.mktemp("embedded")))
        cluster.up(bed, api_only=True, follow=True)
        stack.callback(cluster.down, bed)
        ca = base64.b64encode(Path(bed.certificate("ca")).read_bytes()).decode()
        hooks = f"{ca}@https://127.0.0.1:{_HOOKS_PORT}"
        first = cluster.first_process(bed)
        stack.enter_context(_webhooks(bed, "nsenter", f"--net=/proc/{first}/ns/net"))
        stack.enter_context(_webhooks(bed))
        real = Api(stack.enter_context(_admin(bed)), "", hooks)
        other = Api(stack.enter_context(embedded.client()), "", hooks)
        for api in (real, other):
            api.make(api.cluster("apiextensions.k8s.io/v1", "customresourcedefinitions"), WIDGETS)
            _established(api)
        yield real, other


@contextmanager
def _webhooks(bed: Paths, *prefix: str) -> Iterator[None]:
    command = [sys.executable, str(Path(hooks_program.__file__)), "127.0.0.1", str(_HOOKS_PORT)]
    files = [bed.certificate("apiserver"), bed.key("apiserver")]
    with subprocess.Popen([*prefix, *command, *files], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert b"ready\n" == process.stdout.readline()
            yield
        finally:
            process.kill()


@contextmanager
def _admin(bed: Paths) -> Iterator[httpx2.Client]:
    config = json.loads(bed.kubeconfig.read_text())
    context = ssl.create_default_context(cafile=bed.certificate("ca"))
    context.load_cert_chain(bed.certificate("admin"), bed.key("admin"))
    address = config["clusters"][0]["cluster"]["server"]
    anonymous = ssl.create_default_context(cafile=bed.certificate("ca"))
    # A token beside a certificate would not be looked at: whoever brings one, brings only it.
    with (
        httpx2.Client(base_url=address, verify=context, timeout=20.0) as client,
        httpx2.Client(base_url=address, verify=anonymous, timeout=20.0) as plain,
    ):
        yield _ByToken(client, plain)  # type: ignore[misc]


class _ByToken:
    """Sends requests that carry a token over connections without a client certificate."""

    def __init__(self, own: httpx2.Client, plain: httpx2.Client) -> None:
        self._own = own
        self._plain = plain

    def request(self, method: str, path: str, *, headers: dict[str, str], **more: Any) -> Any:
        chosen = self._plain if "Authorization" in headers else self._own
        return chosen.request(method, path, headers=headers, **more)

    def stream(self, *words: Any, **more: Any) -> Any:
        return self._own.stream(*words, **more)


def _established(api: Api) -> None:
    path = api.cluster("contract.l5dx.io/v1", "widgets")
    deadline = time.monotonic() + 15
    while api.send("GET", path).status_code != 200:
        assert time.monotonic() < deadline, "the definition is not established"
        time.sleep(0.05)


def _scenarios() -> Iterator[Any]:
    for module in (reading, writing, crds, access, admission):
        for name, scenario in _functions(module):
            label = f"{module.__name__.rpartition('.')[2]}.{name}"
            yield pytest.param(label, scenario, id=label)


def _functions(module: ModuleType) -> list[tuple[str, Callable[[Api], Any]]]:
    return [
        (name, one)
        for name, one in vars(module).items()
        if callable(one) and getattr(one, "__module__", "") == module.__name__ and name[0] != "_"
    ]


@pytest.mark.parametrize(("label", "scenario"), list(_scenarios()))
def test_both_servers_answer_alike(
    servers: tuple[Api, Api], label: str, scenario: Callable[[Api], Any]
) -> None:
    real, embedded = (parts(_seen(api, scenario)) for api in servers)
    known = KNOWN.get(label, {})
    differing = {key for key in real.keys() | embedded.keys() if real.get(key) != embedded.get(key)}
    new = {key: value for key, value in real.items() if key in differing - known.keys()}
    lines = difflib.unified_diff(
        _text(new),
        _text({key: embedded.get(key) for key in new}),
        "kubernetes",
        "embedded",
        n=2,
        lineterm="",
    )
    if text := "\n".join(lines):
        pytest.fail(text, pytrace=False)
    assert sorted(known) == sorted(differing), "what is listed as different no longer differs"


def _seen(server: Api, scenario: Callable[[Api], Any]) -> Any:
    area = scenario.__module__.rpartition(".")[2]
    namespace = f"{area}-{scenario.__name__}".replace("_", "-")
    server.send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    return scenario(Api(server.client, namespace, server.hooks))


def _text(value: Any) -> list[str]:
    return json.dumps(value, indent=1, sort_keys=True, default=str).splitlines()


def test_the_embedded_server_discovers_as_kubernetes_does(servers: tuple[Api, Api]) -> None:
    """Whatever the embedded server names, it names as the real one; it may name less."""
    real, embedded = (discovery.resources(api) for api in servers)
    differing = {
        f"{group}/{name}": (real.get(group, {}).get(name), told)
        for group, names in embedded.items()
        for name, told in names.items()
        if real.get(group, {}).get(name) != told
    }
    assert sorted(DISCOVERY) == sorted(differing), differing
    groups = discovery.preferred(servers[1])
    assert groups == {
        name: version for name, version in discovery.preferred(servers[0]).items() if name in groups
    }
