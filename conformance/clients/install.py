"""Installs clients, as pinned in pins/, once into the user's cache.

Each function returns the start of a command line that runs a script with its
client, and the environment that the script needs; it raises Unavailable where
the client cannot be had. Two programs may be brought along: the environment
variables GRPCURL and PERF_ANALYZER name executables to use instead of ours.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PINS = HERE / "pins"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mosel" / "clients"

STEP_SECONDS = 240  # of one command that installs; the longest took 30 s on two busy cores


class Unavailable(Exception):
    """Why a client cannot be had here, in one line."""


failures = {}  # by kind: several scripts use one client, and none tries again what failed


def step(*command, cwd=None, environment=None):
    """Runs one command of an installation; its first line of error is the reason if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=STEP_SECONDS)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not there") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {STEP_SECONDS} s") from None
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip() and not line.startswith("go: downloading")]
        errors = [line for line in lines if re.match(r"(?i)error|npm error|go: |E: ", line)]
        raise Unavailable((errors or lines or [f"{command[0]} ended with {done.returncode}"])[0].strip())
    return done.stdout


def once(kind, build, *pins):
    """A directory in the cache that build has filled: a new one when a pinned file or the machine's Python is another."""
    if kind in failures:
        raise failures[kind]
    digest = hashlib.sha256(f"{sys.executable} {sys.version} {platform.machine()}".encode())
    for file in pins:
        digest.update(file.read_bytes())
    home = CACHE / f"{kind}-{digest.hexdigest()[:12]}"
    complete = home / "complete"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another checkout may be installing the same
        if not complete.exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            try:
                build(home)
            except Unavailable as reason:
                failures[kind] = reason
                raise
            complete.touch()
    return home


def pip(home, *flags):
    """Installs wheels only: compiling a client that has none for this machine takes longer than its checks are worth."""
    step(sys.executable, "-m", "venv", str(home))
    step(str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20",
         "--only-binary", ":all:", "--no-compile", *flags)


def tritonclient():
    pins = PINS / "tritonclient.txt"
    home = once("tritonclient", lambda home: pip(home, "-r", str(pins)), pins)
    return [str(home / "bin/python")], {}


def kserve():
    pins = PINS / "kserve.txt"
    home = once("kserve", lambda home: pip(home, "-r", str(pins)), pins)
    return [str(home / "bin/python")], {}


def grpcurl():
    program = os.environ.get("GRPCURL")
    if not program:
        module = ROOT / "tools/grpcurl"
        home = once("grpcurl", lambda home: step("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", f"{home}/", "tool", cwd=module), module / "go.mod", module / "go.sum")
        program = str(home / "grpcurl")
    return [sys.executable], {"GRPCURL": program}


def grpc_js():
    pins = PINS / "package.json", PINS / "package-lock.json"

    def build(home):
        for file in pins:
            shutil.copy(file, home)
        step("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1", "--fetch-timeout=20000", cwd=home)

    home = once("grpc-js", build, *pins)
    return ["node", "--test", "--test-reporter=spec"], {"NODE_PATH": str(home / "node_modules")}


def perf_analyzer():
    program = os.environ.get("PERF_ANALYZER")
    if not program:
        pins = PINS / "perf_analyzer.txt"
        program = str(once("perf_analyzer", lambda home: perf_analyzer_into(home, pins), pins) / "perf_analyzer")
    return [sys.executable], {"PERF_ANALYZER": program}


def perf_analyzer_into(home, pins):
    """The program, and a way to start it.

    It is built for a C library newer than that of many a machine. pip would
    refuse it there; on Debian the C library of the next release, unpacked
    beside it and used by nothing else, does the job.
    """
    wheel = f"manylinux_2_38_{platform.machine()}"
    pip(home, "-r", str(pins), "--no-deps", "--target", str(home / "wheel"), "--platform", wheel)
    program = home / "wheel/perf_analyzer/bin/perf_analyzer"
    program.chmod(0o755)
    start = home / "perf_analyzer"
    try:
        step(str(program), "--version")
        start.symlink_to(program)
    except Unavailable:
        libraries = newer_c_library(home)
        (loader,) = libraries.glob("ld-linux-*.so.*")
        start.write_text(f'#!/bin/sh\nexec {loader} --library-path {libraries}:/usr/lib/{libraries.name} {program} "$@"\n', encoding="ascii")
        start.chmod(0o755)
        step(str(start), "--version")


def newer_c_library(home):
    """Unpacks the C and C++ libraries of Debian 13 from the mirror that this machine uses, installing nothing."""
    sources = ""
    for file in [pathlib.Path("/etc/apt/sources.list"), *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*"))]:
        with contextlib.suppress(OSError):
            sources += file.read_text(encoding="utf-8")
    mirror = re.search(r"^(?:URIs:|deb(?: +\[.*?\])?) *(\S+/debian/?)(?:\s|$)", sources, re.MULTILINE)
    if not mirror:
        raise Unavailable(f"it needs glibc 2.38, this machine has {platform.libc_ver()[1]} and no Debian mirror to borrow a newer one from")
    apt = home / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "next.sources").write_text(f"Types: deb\nURIs: {mirror[1]}\nSuites: trixie\nComponents: main\nSigned-By: {keys}\n", encoding="ascii")
    options = []
    for setting in (f"Dir::Etc::sourcelist={apt}/next.sources", "Dir::Etc::sourceparts=/dev/null", f"Dir::State={apt}", f"Dir::State::status={apt}/status",
                    f"Dir::Cache={apt}/cache", "APT::Sandbox::User=", "Acquire::Languages=none", "Acquire::Retries=1"):
        options += ["-o", setting]
    step("apt-get", *options, "update", "--error-on=any")
    step("apt-get", *options, "download", "libc6", "libstdc++6", "libgcc-s1", cwd=apt)
    for package in apt.glob("*.deb"):
        step("dpkg-deb", "-x", str(package), str(home / "libraries"))
    (libraries,) = (home / "libraries/usr/lib").glob("*-linux-gnu")
    shutil.rmtree(apt)
    return libraries
