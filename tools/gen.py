"""Generates code from the proto files: Python messages and stubs, and Rust messages.

`gen.py` writes; `gen.py --check` writes nothing and fails when a committed file differs from what
it would write. Python comes from grpcio-tools and mypy-protobuf, Rust from `tools/protogen`
(prost-build); neither needs a protoc on the machine.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Unit:
    """A folder of proto files and where its code goes."""

    protos: str
    """Folder with the proto files; all of them are generated."""

    package: str
    """Python package of the generated modules; its folder is the same path."""

    rust: str | None = None
    """Folder for Rust modules, if any."""

    not_rust: tuple[str, ...] = ()
    """Files of which Rust needs nothing."""

    not_python: tuple[str, ...] = ()
    """Files of which Python needs nothing."""


UNITS = (
    Unit(
        "proto",
        "linkerd.gen",
        rust="proxy/api/src/gen",
        not_rust=("viz.proto", "viz_net.proto", "viz_tap.proto"),
        not_python=("workload.proto",),
    ),
    Unit("demo/emojivoto", "demo.emojivoto.gen"),
)

NOTICE = "# Written by tools/gen.py from {source}; edit that instead.\n"
RUST_NOTICE = "// Written by tools/gen.py; edit proto/ instead.\n"
# protoc writes `import net_pb2 as net__pb2`, mypy-protobuf `import net_pb2` and `from net_pb2 import X`.
_SERVICE = re.compile(r"^service ", re.MULTILINE)
_IMPORT = re.compile(r"^import (\w+_pb2(?:_grpc)?)( as \w+)?$", re.MULTILINE)


def protoc(*args: str) -> None:
    """Runs the protoc that grpcio-tools carries."""
    run = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"},
    )
    if run.returncode != 0:
        sys.exit(f"cannot compile the proto files:\n{run.stderr}")


def python(unit: Unit, files: list[str]) -> dict[Path, str]:
    """The Python files of a unit, by path."""
    package = ROOT / unit.package.replace(".", "/")
    files = [file for file in files if Path(file).name not in unit.not_python]
    own = {Path(file).stem + "_pb2" for file in files}
    result = {package / "__init__.py": '"""Generated messages and gRPC stubs."""\n'}
    with tempfile.TemporaryDirectory() as folder:
        protoc(
            f"-I{unit.protos}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            f"--mypy_out=quiet:{folder}",
            f"--mypy_grpc_out=quiet:{folder}",
            *files,
        )
        for path in sorted(Path(folder).iterdir()):
            text = path.read_text()
            source = f"{unit.protos}/{path.name.partition('_pb2')[0]}.proto"
            if "_pb2_grpc" in path.name and not _SERVICE.search((ROOT / source).read_text()):
                continue
            text = NOTICE.format(source=source) + _rewrite(text, unit.package, own)
            result[package / path.name] = text
    return result


def _rewrite(text: str, package: str, own: set[str]) -> str:
    """Makes the imports of sibling modules absolute."""

    def absolute(found: re.Match[str]) -> str:
        module, alias = found.group(1), found.group(2) or ""
        if module.removesuffix("_grpc") not in own:
            return found.group(0)
        return f"from {package} import {module}{alias}"

    return _IMPORT.sub(absolute, text)


def rust(unit: Unit, files: list[str]) -> dict[Path, str]:
    """The Rust files of a unit, by path."""
    if unit.rust is None:
        return {}
    manifest = ROOT / "tools/protogen/Cargo.toml"
    env = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target/protogen")}
    with tempfile.TemporaryDirectory() as folder:
        fds, out = Path(folder, "set.binpb"), Path(folder, "out")
        out.mkdir()
        wanted = [file for file in files if Path(file).name not in unit.not_rust]
        protoc(
            f"-I{unit.protos}",
            f"--descriptor_set_out={fds}",
            "--include_imports",
            "--include_source_info",
            *wanted,
        )
        run = ["cargo", "run", "--quiet", "--locked", "--manifest-path", str(manifest), "--"]
        done = subprocess.run([*run, str(fds), str(out)], cwd=ROOT, env=env)
        if done.returncode != 0:
            sys.exit("cannot generate the Rust messages: protogen failed")
        return {
            ROOT / unit.rust / path.name: RUST_NOTICE + path.read_text()
            for path in sorted(out.iterdir())
        }


def generate() -> dict[Path, str]:
    """Every generated file, by path."""
    result: dict[Path, str] = {}
    for unit in UNITS:
        folder = ROOT / unit.protos
        files = sorted(str(p.relative_to(ROOT)) for p in folder.glob("*.proto"))
        if files:
            result |= python(unit, files) | rust(unit, files)
    return result


def stale(wanted: dict[Path, str]) -> list[str]:
    """What is wrong with the generated files as they are, one line each."""
    problems = []
    for path, text in wanted.items():
        if not path.exists():
            problems.append(f"{path.relative_to(ROOT)} is missing")
        elif path.read_text() != text:
            problems.append(f"{path.relative_to(ROOT)} differs")
    for folder in {path.parent for path in wanted}:
        problems += [
            f"{path.relative_to(ROOT)} has no source"
            for path in folder.iterdir()
            if path.is_file() and path not in wanted
        ]
    return sorted(problems)


def main() -> int:
    """Writes the generated files, or compares them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    wanted = generate()
    if check:
        problems = stale(wanted)
        if problems:
            print(*problems, "Generated files are out of date: run `make gen`.", sep="\n")
        return 1 if problems else 0
    for folder in {path.parent for path in wanted}:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.is_file() and path not in wanted:
                path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
