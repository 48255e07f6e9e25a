"""Which command a line means, its errors and exit codes; excludes what commands do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import linkerd
from linkerd.cli import _args, _chart_flags, _tree
from linkerd.cli.main import main
from linkerd.install import flags


@pytest.mark.parametrize(
    ("line", "path", "flags"),
    [
        ("version --client", ["version"], ["--client"]),
        ("viz stat deploy", ["viz", "stat"], ["deploy"]),
        ("-n emojivoto viz stat deploy", ["viz", "stat"], ["-n", "emojivoto", "deploy"]),
        ("-n viz viz stat deploy", ["viz", "stat"], ["-n", "viz", "deploy"]),
        ("viz -n emojivoto stat deploy", ["viz", "stat"], ["-n", "emojivoto", "deploy"]),
        (
            "--context=west -n test viz edges deploy",
            ["viz", "edges"],
            ["--context=west", "-n", "test", "deploy"],
        ),
        ("--context check check", ["check"], ["--context", "check"]),
        ("-nemojivoto check --proxy", ["check"], ["-nemojivoto", "--proxy"]),
        ("-n emojivoto check --proxy", ["check"], ["-n", "emojivoto", "--proxy"]),
        ("--proxy check", ["check"], ["--proxy"]),
        ("--wait 5m check", ["check"], ["--wait", "5m"]),
        ("check config", ["check"], []),
        ("stat deploy", ["viz", "stat"], ["deploy"]),
        ("-n emojivoto stat deploy", ["viz", "stat"], ["-n", "emojivoto", "deploy"]),
        ("edges po", ["viz", "edges"], ["po"]),
        ("metrics deploy/web", ["diagnostics", "proxy-metrics"], ["deploy/web"]),
        ("dg endpoints web:80", ["diagnostics", "endpoints"], ["web:80"]),
        ("inject -", ["inject"], ["-"]),
        ("local image list", ["local", "image", "list"], []),
        ("viz", ["viz"], []),
        ("nothing", [], ["nothing"]),
        ("../version", [], ["../version"]),
    ],
)
def test_words_before_and_after_flags_find_the_command(
    line: str, path: list[str], flags: list[str]
) -> None:
    found = _tree.find(line.split())
    assert (tuple(path), flags) == (found.path, found.flags)


def test_words_after_dashes_are_left_alone() -> None:
    found = _tree.find(["local", "exec", "web", "--", "ls", "-n", "x"])
    assert (("local", "exec"), ["web"], ["ls", "-n", "x"]) == (
        found.path,
        found.flags,
        found.rest,
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("nothing", 'unknown command "nothing" for "linkerd"'),
        ("viz nothing", 'unknown command "nothing" for "linkerd viz"'),
        ("version --nothing", "unknown flag: --nothing"),
        ("version -x", "unknown shorthand flag: 'x' in -x"),
        ("version extra", "unexpected argument 'extra'"),
        ("version -n", "flag needs an argument: --namespace"),
        ("check -o wide", "--output must be one of: table, json, short (got wide)"),
        ("check --wait soon", "invalid argument for --wait: 'soon': expected a duration"),
        ("check --pre --proxy", "--pre and --proxy flags are mutually exclusive"),
        ("-L not_valid version", "not_valid is not a valid namespace"),
        ("install config", "'linkerd install config' is no more: use 'linkerd install --crds'"),
        ("-n x get pods", "'linkerd get' is no more: use 'kubectl get pods' instead"),
        ("install --init-image x", "the --init-image flag is no longer supported: the proxy's"),
        ("install --addon-config=x", "the --addon-config flag is no longer supported: use --val"),
        ("inject --disable-identity -", "the --disable-identity flag is no longer supported"),
        ("install --cluster-domain", "flag needs an argument: --cluster-domain"),
        ("install -f /nothing.yml", "cannot read /nothing.yml: No such file"),
        ("install --set a --ignore-cluster", "failed parsing --set data: key 'a' has no value"),
        ("install-cni --cni-log-level loud", "--cni-log-level must be one of: panic, fatal"),
        ("profile web", "You must specify exactly one of --template or --open-api or --proto"),
        ("profile --template", "please specify the name of a service"),
        ("profile --template a/b", "invalid service 'a/b': expected a DNS label"),
        ("diagnostics profile web", "invalid address 'web': expected host:port"),
        ("inject https://127.0.0.1:9/x.yml", 'unable to read URL "https://127.0.0.1:9/x.yml": '),
        ("completion tcsh", "unsupported shell type (must be bash, zsh or fish): tcsh"),
        ("inject", "please specify a kubernetes resource file"),
        ("inject http://example.com/x.yml", "only HTTPS URLs are allowed"),
        ("inject /nothing.yml", "cannot read /nothing.yml: No such file or directory"),
        ("viz stat deploy -t 5s", "metrics time window needs to be at least 15s"),
        ("viz edges deploy/web", "Edges cannot be returned for a specific resource name"),
        ("local start --cluster A_B", "'A_B' is not a valid cluster name"),
        ("local exec web", "no command given"),
    ],
)
def test_a_wrong_line_is_one_sentence_and_exit_code_1(
    line: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == main(line.split())
    captured = capsys.readouterr()
    assert "" == captured.out
    assert captured.err.removeprefix("Error: ").startswith(error)


def test_an_old_spelling_says_the_new_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nothing")
    assert 1 == main(["stat", "deploy"])
    notice = "Command \"stat\" is deprecated, use instead 'linkerd viz stat'"
    assert notice == capsys.readouterr().err.splitlines()[0]


def _all_paths(path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not _tree.is_group(path):
        return [path]
    below = [found for name in _tree.children(path) for found in _all_paths((*path, name))]
    return [path, *below]


@pytest.mark.parametrize("path", _all_paths(), ids=" ".join)
def test_every_command_answers_help(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == main([*path, "--help"])
    captured = capsys.readouterr()
    assert " ".join(("linkerd", *path)) in captured.out
    assert "" == captured.err


def test_no_command_is_both_here_and_missing() -> None:
    assert not _tree.LATER.keys() & set(_all_paths())


_OWN_FLAGS = {
    "version": "--client --short --proxy -n",
    "install": (
        "--crds --ha --cluster-domain --identity-trust-domain --identity-external-issuer "
        "--identity-external-ca --identity-issuance-lifetime --identity-clock-skew-allowance "
        "--identity-issuer-certificate-file --identity-issuer-key-file "
        "--identity-trust-anchors-file --linkerd-cni-enabled --controller-log-level "
        "--controller-replicas --controller-uid --controller-gid --disable-h2-upgrade "
        "--disable-heartbeat --enable-endpoint-slices --ignore-cluster"
    ),
    "upgrade": (
        "--crds --from-manifests --force --ha --identity-issuance-lifetime "
        "--identity-trust-anchors-file --linkerd-cni-enabled --controller-replicas"
    ),
    "inject": (
        "--manual --ignore-cluster --enable-debug-sidecar --native-sidecar --close-wait-timeout "
        "--wait-before-exit-seconds --require-identity-on-inbound-ports --opaque-ports --ingress "
        "-o"
    ),
    "uninject": "-o",
    "prune": "-o",
    "uninstall": "-f --force -o",
    "install-cni": (
        "-v --linkerd-version --registry --proxy-uid --proxy-gid --inbound-port --outbound-port "
        "--control-port --admin-port --skip-inbound-ports --skip-outbound-ports --redirect-ports "
        "--cni-image --cni-image-version --cni-log-level --dest-cni-net-dir --dest-cni-bin-dir "
        "--priority-class-name --use-wait-flag --set --set-string --set-file --values"
    ),
    "profile": "--template --open-api --proto -n --ignore-cluster -o",
    "identity": "-n -l",
    "authz": "-n",
    "diagnostics controller-metrics": "-w --wait",
    "diagnostics proxy-metrics": "-n --obfuscate",
    "diagnostics endpoints": "-o --destination-pod --token",
    "diagnostics policy": "-n -o --destination-pod --token",
    "diagnostics profile": "--destination-pod --token",
    "check": "--pre --crds --proxy --wait --expected-version -n -o",
}
_PROXY_FLAGS = (
    "--proxy-image --proxy-version -v --image-pull-policy --registry --inbound-port "
    "--outbound-port --control-port --admin-port --skip-inbound-ports --skip-outbound-ports "
    "--proxy-uid --proxy-gid --proxy-log-level --proxy-cpu-request --proxy-cpu-limit "
    "--proxy-memory-request --proxy-memory-limit --enable-external-profiles "
    "--default-inbound-policy --proxy-memory --proxy-cpu"
)
_GLOBAL_FLAGS = (
    "-L --linkerd-namespace --cni-namespace --kubeconfig --context --as --as-group --api-addr "
    "--verbose"
)
_HELM_FLAGS = "--set --set-string --set-file -f --values -o"


@pytest.mark.parametrize("line", _OWN_FLAGS)
def test_every_flag_of_the_original_is_there(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main([*line.split(), "--help"])
    listed = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*|-[A-Z]\b", capsys.readouterr().out))
    wanted = f"{_OWN_FLAGS[line]} {_GLOBAL_FLAGS}"
    if line in ("install", "upgrade", "inject"):
        wanted += f" {_PROXY_FLAGS}"
    if line in ("install", "upgrade"):
        wanted += f" {_HELM_FLAGS}"
    assert set() == set(wanted.split()) - listed


_HEAVY = ("asyncio", "grpc", "httpx2", "rich", "yaml", "msgspec", "cryptography", "linkerd.kube")


@pytest.mark.parametrize("line", ["version --client", "--help", "viz --help"])
def test_light_commands_import_nothing_heavy(line: str) -> None:
    """The start-up time of the command is kept by what it does not import."""
    code = (
        "import sys; from linkerd.cli.main import main; main(sys.argv[1:]); "
        f"print([name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=True
    )
    assert "[]" == done.stderr.strip()


def test_asking_for_the_clients_version_needs_no_parser() -> None:
    code = (
        "import sys; from linkerd.cli.main import main; main(['version', '--client']); "
        "print([name for name in ('argparse', 're', 'typing') if name in sys.modules])"
    )
    root = Path(linkerd.__file__).parent.parent
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [f"Client version: {linkerd.VERSION}", "[]"] == done.stdout.splitlines()


def test_the_reference_lists_every_command_with_its_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert 0 == main(["doc"])
    body = yaml.safe_load(capsys.readouterr().out)
    commands = {one["Name"]: one for one in body["CLIReference"]}
    assert {"check", "viz stat", "diagnostics policy", "local start"} <= set(commands)
    flags = {option["name"] for option in commands["viz stat"]["Options"]}
    assert {"from", "to", "time-window"} <= flags
    assert "kubeconfig" not in flags
    assert {"Name": "linkerd.io/inject"} in body["AnnotationsReference"]


@pytest.mark.parametrize(
    ("words", "sidecar", "source"),
    [
        (["--native-sidecar", "web.yml"], True, "web.yml"),
        (["--native-sidecar=false", "web.yml"], False, "web.yml"),
        (["web.yml"], None, "web.yml"),
        (["--manual=true", "--native-sidecar", "-"], True, "-"),
    ],
)
def test_a_boolean_flag_takes_no_word_but_may_have_a_value(
    words: list[str], sidecar: bool | None, source: str
) -> None:
    args = _args.parse(("inject",), _tree.load(("inject",)), words)
    assert (sidecar, source) == (getattr(args, "value:native-sidecar"), args.source)
    assert args.manual is ("--manual=true" in words)


def test_every_flag_of_a_chart_value_says_what_it_sets() -> None:
    tables = (*flags.CONTROL_PLANE, *flags.PROXY, *flags.INJECT, *flags.CNI)
    assert set() == {flag.name for flag in tables} - set(_chart_flags.HELP)
