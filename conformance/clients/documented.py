"""The code in docs/clients.md, run as it stands there.

Only the two addresses are put in place of those of the page.
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

from digits import GRPC, REST

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def code(heading):
    """All code of a section, joined."""
    page = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\w+\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    return "\n".join(blocks).replace("localhost:8000", REST).replace("localhost:8001", GRPC)


def case(heading, *command, path=()):
    """A test case that runs a section's code: by this Python, or by a command that takes it as its last argument."""
    command = command or (sys.executable, "-c")

    class Documented(unittest.TestCase):
        def test_documented(self):
            environment = {**os.environ, "PATH": os.pathsep.join([*path, os.environ["PATH"]])}
            done = subprocess.run([*command, code(heading)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertTrue(done.stdout)

    return Documented
