"""`make fuzz`: explores every fuzz target with libFuzzer, on the stable toolchain.

What it finds lies in target/fuzz/found/<target>-*; the inputs that it makes in target/fuzz/corpus. With
`--keep` those that reach new code are merged into proxy/fuzz/corpus, which the tests replay.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "fuzz"
CORPORA = ROOT / "proxy" / "fuzz" / "corpus"
HOST = "x86_64-unknown-linux-gnu" if os.uname().machine == "x86_64" else "aarch64-unknown-linux-gnu"
# Coverage as cargo-fuzz asks the nightly compiler for it; the passes are in the stable one too.
FLAGS = (
    "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
    " -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    " -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
    " -Cdebug-assertions=on -Coverflow-checks=on -Ccodegen-units=1 --cfg fuzzing"
)
INPUT_BYTES_MAX = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", help="some targets; all by default")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="the same inputs again; 0: others")
    parser.add_argument("--keep", action="store_true", help="merge new inputs into the repository")
    args = parser.parse_args()
    known = re.findall(
        r'^    \("(\w+)",', (ROOT / "proxy/fuzz/src/lib.rs").read_text(), re.MULTILINE
    )
    unknown = set(args.targets) - set(known)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}")
    program, targets = _build(), args.targets or known
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sound = pool.map(lambda name: _explore(program, name, args.seconds, args.seed), targets)
        failed = [name for name, passed in zip(targets, sound, strict=True) if not passed]
    if args.keep:
        for name in targets:
            _keep(program, name)
    if failed:
        print(f"fuzz: {', '.join(failed)} failed; see {WORK / 'found'}", file=sys.stderr)
    return 1 if failed else 0


def _build() -> str:
    command = ["cargo", "build", "--locked", "--quiet", "--package", "linkerd-proxy-fuzz"]
    command += ["--features", "libfuzzer-sys", "--bin", "fuzz", "--target", HOST]
    command += ["--target-dir", str(WORK), "--config", "profile.dev.opt-level=2"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "RUSTFLAGS": FLAGS}, check=True)
    return str(WORK / HOST / "debug" / "fuzz")


def _explore(program: str, name: str, seconds: int, seed: int) -> bool:
    made, found = WORK / "corpus" / name, WORK / "found"
    made.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    (CORPORA / name).mkdir(exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=20", "-rss_limit_mb=1024"]
    limits += [
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={found}/{name}-",
        "-print_final_stats=1",
    ]
    done = _run(program, name, [*limits, str(made), str(CORPORA / name)])
    count = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    cover = re.findall(r"cov: (\d+)", done.stderr)
    verdict = "ok" if done.returncode == 0 else "FAILED"
    runs = int(count.group(1)) if count else 0
    told = f"{name:18} {runs:>9} runs  {cover[-1] if cover else 0:>5} edges  {verdict}\n"
    print(told, end="", flush=True)
    if done.returncode:
        print(done.stderr[-1500:], file=sys.stderr)
    return done.returncode == 0


def _keep(program: str, name: str) -> None:
    done = _run(program, name, ["-merge=1", str(CORPORA / name), str(WORK / "corpus" / name)])
    if done.returncode:
        print(f"fuzz: {name} could not be merged: {done.stderr[-300:]}", file=sys.stderr)


def _run(program: str, name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words],
        env={**os.environ, "FUZZ_TARGET": name},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
