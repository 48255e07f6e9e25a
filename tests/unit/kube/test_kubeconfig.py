"""kubeconfig files: precedence, merging, relative paths, what is refused."""

from __future__ import annotations

import base64
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from linkerd.errors import SettingsError
from linkerd.kube.auth import Authenticator
from linkerd.kube.config import KubeConfig, in_cluster, load, parse


def a_document(server: str = "https://one", **user: Any) -> dict[str, Any]:
    return {
        "current-context": "ctx",
        "contexts": [
            {"name": "ctx", "context": {"cluster": "c", "user": "u", "namespace": "mine"}},
            {"name": "other", "context": {"cluster": "c"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }


def written(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_the_path_wins_over_the_environment_and_that_over_home(tmp_path: Path) -> None:
    flag = written(tmp_path / "flag", a_document("https://flag"))
    variable = written(tmp_path / "variable", a_document("https://variable"))
    written(tmp_path / ".kube" / "config", a_document("https://home"))
    environ = {"HOME": str(tmp_path)}
    assert "https://home" == load(environ=environ).server
    environ["KUBECONFIG"] = str(variable)
    assert "https://variable" == load(environ=environ).server
    assert "https://flag" == load(flag, environ=environ).server


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    first = written(tmp_path / "1", {"current-context": "ctx"})
    second = written(tmp_path / "2", a_document("https://second", token="t"))
    third = written(tmp_path / "3", a_document("https://third"))
    config = load(environ={"KUBECONFIG": f"{first}:{second}:{third}:{tmp_path / 'absent'}"})
    assert ("https://second", "t", "mine") == (config.server, config.token, config.namespace)


def test_a_context_can_be_named(tmp_path: Path) -> None:
    config = parse([(tmp_path, a_document(token="t"))], "other")
    assert ("other", "default", "") == (config.context, config.namespace, config.token)


def test_certificates_come_as_data_or_as_files_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("CERT")
    document = a_document(
        **{
            "client-certificate": "cert.pem",
            "client-key-data": base64.b64encode(b"KEY").decode(),
        }
    )
    config = parse([(tmp_path / "config", document)])
    assert ("CERT", "KEY") == (config.cert_pem, config.key_pem)
    assert "KEY" not in repr(config)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"current-context": ""}, "no current context"),
        ({"current-context": "nope"}, "no context 'nope'"),
        ({"clusters": []}, "no cluster 'c'"),
        ({"users": []}, "no user 'u'"),
        ({"clusters": [{"name": "c", "cluster": {"server": "ftp://x"}}]}, "no http"),
        (
            {"clusters": [{"name": "c", "cluster": {"server": "https://x", "proxy-url": "p"}}]},
            "proxy-url",
        ),
        (
            {"users": [{"name": "u", "user": {"exec": {"apiVersion": "v0", "command": "x"}}}]},
            "apiVersion 'v0'",
        ),
        ({"users": [{"name": "u", "user": {"client-key-data": "%"}}]}, "no base64"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        parse([(tmp_path, a_document() | change)])


def test_no_configuration_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(environ={"HOME": str(tmp_path)})
    assert "linkerd local start" in (error.value.hint or "")


def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "token").write_text("one\n")
    (tmp_path / "namespace").write_text("linkerd")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    config = in_cluster(environ, tmp_path)
    assert "https://[fd00::1]:443" == config.server
    assert ("CA", "one", "linkerd") == (config.ca_pem, config.token, config.namespace)


async def test_a_rotated_token_file_is_read_again_when_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    auth = Authenticator(KubeConfig("http://x", token_file=str(token)))
    assert "Bearer one" == (await auth.headers())["Authorization"]
    token.write_text("two")
    assert "Bearer one" == (await auth.headers())["Authorization"]
    assert auth.invalidate()
    assert "Bearer two" == (await auth.headers())["Authorization"]


async def test_an_exec_plugin_gives_the_token(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!{sys.executable}\n"
        "import json, os\n"
        "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['kind'] == 'ExecCredential'\n"
        "print(json.dumps({'status': {'token': os.environ['SAY']}}))\n"
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    document = a_document(
        exec={
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "env": [{"name": "SAY", "value": "hello"}],
        }
    )
    auth = Authenticator(parse([(tmp_path / "config", document)]))
    assert "Bearer hello" == (await auth.headers())["Authorization"]
