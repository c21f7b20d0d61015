"""The code in docs/clients.md, run as it stands there.

Only the two addresses are put in place of those of the page.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

from digits import GRPC, REST

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS = 60  # of one section's code, which takes some


def code(heading):
    """All code of a section, joined."""
    page = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\w+\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    return "\n".join(blocks).replace("localhost:8000", REST).replace("localhost:8001", GRPC)


def run(command, environment):
    """Runs a command. Returns its exit status, None if it did not end, and what it printed: of Python, also where its threads were."""
    if command[0] == sys.executable:
        command = [sys.executable, "-X", "faulthandler", *command[1:]]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            printed, _ = process.communicate(timeout=SECONDS)
            return process.returncode, printed
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            try:
                printed, _ = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                printed, _ = process.communicate()
            return None, printed


def case(heading, *command, path=()):
    """A test case that runs a section's code: by this Python, or by a command that takes it as its last argument."""
    command = command or (sys.executable, "-c")

    class Documented(unittest.TestCase):
        def test_documented(self):
            environment = {**os.environ, "PATH": os.pathsep.join([*path, os.environ["PATH"]])}
            status, printed = run([*command, code(heading)], environment)
            if status is None:
                # A client's library can hang when the process ends. If the server is the reason, it hangs again.
                print(f"{heading}: did not end in {SECONDS} s, running it once more:\n{printed}", file=sys.stderr)
                status, printed = run([*command, code(heading)], environment)
            self.assertEqual(status, 0, printed)
            self.assertTrue(printed)

    return Documented
