"""What goes into the images' layers: programs with their libraries, Python, distributions.

Everything is taken from this machine: the C library and Prometheus as Debian ships them, the Python
that runs this, the distributions of .venv. Run it on the oldest system that shall be served.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from images.oci import Entry

PREFIX = "/usr/local"
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = f"{PREFIX}/lib/{_PYTHON}"
SITE = f"{LIBRARY}/site-packages"
# Parts of the standard library that no daemon imports.
_LEFT_OUT = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    }
)
_SHARED_OBJECT = re.compile(r"\.so(\.\d+)*$")
_LDD_LINE = re.compile(r"(?:(\S+) => )?(/\S+) \(0x")
_COMPILER = """\
import _imp, importlib.util, json, marshal, sys, warnings
warnings.simplefilter("ignore")
for path, where in json.load(sys.stdin):
    source = open(path, "rb").read()
    try:
        code = compile(source, where, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        data = b""
    else:
        # `unchecked` by the rule of PEP 552: the image is the unit that changes.
        key = _imp.source_hash(importlib.util._RAW_MAGIC_NUMBER, source)
        flags = (1).to_bytes(4, "little")
        data = importlib.util.MAGIC_NUMBER + flags + key + marshal.dumps(code)
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
"""


def system() -> list[Entry]:
    """Returns the files that every image has: users, name resolution, a place for temporary files."""
    users = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
    groups = "root:x:0:\nnobody:x:65534:\n"
    return [
        Entry("/etc/passwd", users.encode()),
        Entry("/etc/group", groups.encode()),
        Entry("/etc/nsswitch.conf", b"hosts: files dns\n"),
        Entry("/tmp", mode=0o1777),
    ]


def program(path: Path, target: str = "") -> list[Entry]:
    """Returns an executable at `target`, by default where it is here, without its libraries."""
    return [Entry(target or str(path), path.resolve(), mode=0o755)]


def libraries(objects: Iterable[Path]) -> list[Entry]:
    """Returns the loader and the shared libraries that `objects` need.

    The loader stays at its path; a library outside of the system's folders moves into one, so that
    the loader finds it without a cache.
    """
    entries: dict[str, Entry] = {}
    for name, path in sorted(_needed(objects)):
        folder = os.path.dirname(path)
        system_folder = re.match(r"(/usr)?/lib(64)?(/|$)", folder)
        target = path if system_folder else f"{_system_folder()}/{name}"
        # One name for /lib and /usr/lib: which of them is the link differs between systems.
        target = target.removeprefix("/usr") if target.startswith("/usr/lib") else target
        entries[target] = Entry(target, Path(path).resolve(), mode=0o755)
    return list(entries.values())


def _system_folder() -> str:
    return f"/lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}"


def _needed(objects: Iterable[Path]) -> set[tuple[str, str]]:
    paths = [str(one) for one in objects]
    if not paths:
        return set()
    done = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False)
    if missing := re.search(r"(\S+) => not found", done.stdout):
        raise FileNotFoundError(f"shared library {missing[1]} is missing on this machine")
    return {(name or os.path.basename(path), path) for name, path in _LDD_LINE.findall(done.stdout)}


def python() -> list[Entry]:
    """Returns this interpreter and its standard library below `PREFIX`, compiled."""
    executable = Path(sys.executable).resolve()
    source = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    entries = [
        Entry(f"{PREFIX}/bin/{_PYTHON}", executable, mode=0o755),
        Entry(f"{PREFIX}/bin/python3", target=_PYTHON),
        Entry(f"{PREFIX}/bin/python", target=_PYTHON),
    ]
    entries += _copied(_standard_library(source), source, LIBRARY)
    objects = [one.data for one in entries if isinstance(one.data, Path) and _is_object(one)]
    return [*entries, *libraries([executable, *objects])]


def _standard_library(source: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(source):
        folders[:] = [
            one for one in folders if one not in _LEFT_OUT and not one.startswith("config-")
        ]
        yield from (Path(folder, name) for name in names)


def _is_object(entry: Entry) -> bool:
    return _SHARED_OBJECT.search(entry.path) is not None


def distributions(names: Iterable[str]) -> list[Entry]:
    """Returns the installed files of distributions, compiled, and the libraries that they need.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed.
    """
    entries: list[Entry] = []
    for name in sorted(names):
        found = importlib.metadata.distribution(name)
        root = Path(str(found.locate_file("")))
        files = [root / str(one) for one in found.files or ()]
        # Scripts lie outside of the folder; nothing in an image calls them.
        entries += _copied(
            (one for one in files if ".." not in one.parts and _is_wanted(one)), root, SITE
        )
    present = {entry.path for entry in entries}
    objects = [one.data for one in entries if isinstance(one.data, Path) and _is_object(one)]
    # What a wheel brings along it finds itself.
    return [*entries, *(one for one in libraries(objects) if one.path not in present)]


def _is_wanted(path: Path) -> bool:
    # RECORD and direct_url.json tell of this installation, not of the distribution.
    return (
        "__pycache__" not in path.parts
        and path.is_file()
        and path.name not in ("RECORD", "direct_url.json", "INSTALLER", "REQUESTED")
        and path.suffix != ".pyi"
    )


def package(source: Path, target: str) -> list[Entry]:
    """Returns a folder of ours, compiled; symbolic links to folders are followed."""
    found: list[Path] = []
    for folder, folders, names in os.walk(source, followlinks=True):
        folders[:] = [one for one in folders if one not in ("__pycache__", "node_modules")]
        found += [Path(folder, name) for name in names if not name.endswith(".pyc")]
    return _copied(found, source, target)


def pinned(requirements: Path) -> list[str]:
    """Returns the distributions that a requirements file pins."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", requirements.read_text(), re.MULTILINE)


def _copied(files: Iterable[Path], source: Path, target: str) -> list[Entry]:
    where = {path: f"{target}/{path.relative_to(source).as_posix()}" for path in sorted(files)}
    modules = [path for path in where if path.suffix == ".py"]
    compiled = dict(zip(modules, _compiled({one: where[one] for one in modules}), strict=True))
    entries = []
    for path, name in where.items():
        entries.append(Entry(name, path, mode=0o755 if os.access(path, os.X_OK) else 0o644))
        if code := compiled.get(path):
            folder, _, module = name.rpartition("/")
            tag = sys.implementation.cache_tag
            cached = f"{folder}/__pycache__/{module.removesuffix('.py')}.{tag}.pyc"
            entries.append(Entry(cached, code))
    return entries


def _compiled(modules: Mapping[Path, str]) -> Iterator[bytes]:
    """Yields the byte code of each module, empty for what is no Python: pods have nowhere to write
    it, and many start at once.

    A process of its own compiles: marshal marks the objects that somebody else holds as well, so
    the bytes would tell what else this process has loaded (python/cpython#78274).
    """
    paths = json.dumps([(str(path), where) for path, where in modules.items()]).encode()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _COMPILER], input=paths, capture_output=True, check=True
    )
    at = 0
    while at < len(done.stdout):
        end = at + 4 + int.from_bytes(done.stdout[at : at + 4], "big")
        yield done.stdout[at + 4 : end]
        at = end
