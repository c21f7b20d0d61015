"""perf_analyzer: short runs over both transports, with invented and with real data.

The program is named by the environment variable PERF_ANALYZER.
"""

import base64
import csv
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import documented
from digits import GRPC, INPUTS, MODEL, REST, SAMPLES

REQUESTS = 60  # of each run: a second or two


class PerfAnalyzer(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def measure(self, transport, *flags):
        """Runs it to the end and returns what it printed."""
        command = [os.environ["PERF_ANALYZER"], "-m", MODEL, "-i", transport, "-u", {"http": REST, "grpc": GRPC}[transport], *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout[:2000])
        return done.stdout

    def send(self, transport, *flags, requests=REQUESTS):
        """Sends so many requests; every one must have been answered, at more than no rate."""
        report = self.folder / "report.csv"
        printed = self.measure(transport, "-f", str(report), "--request-count", str(requests), *flags)
        self.assertIn(f"Request count: {requests}", printed)
        with report.open(newline="", encoding="ascii") as lines:
            rows = list(csv.DictReader(lines))
        self.assertEqual(len(rows), 1)
        self.assertGreater(float(rows[0]["Inferences/Second"]), 0)

    def real_data(self, modalities):
        """The samples as a file for --input-data."""
        data = [{n: {"b64": base64.b64encode(s.data[n]).decode()} for n in modalities} for s in SAMPLES]
        path = self.folder / "data.json"
        path.write_text(json.dumps({"data": data}), encoding="ascii")
        return "--input-data", str(path)

    def test_invented_data(self):
        for transport in ("http", "grpc"):
            with self.subTest(transport):
                self.send(transport)

    def test_real_data(self):
        for transport in ("http", "grpc"):
            with self.subTest(transport):
                self.send(transport, *self.real_data(INPUTS), "--concurrency-range", "4", "--async")

    def test_some_modalities(self):
        """Inputs are optional, so data may leave some out."""
        for transport in ("http", "grpc"):
            with self.subTest(transport):
                self.send(transport, *self.real_data(["image", "text"]))

    def test_objective(self):
        """As headers over HTTP, where it takes no parameters."""
        self.send("http", *self.real_data(INPUTS), "-H", "x-mosel-min-accuracy: 0.97", "-H", "x-mosel-deadline-ms: 5000")
        self.send("grpc", *self.real_data(INPUTS), "--request-parameter", "min_accuracy:0.97:string", "--request-parameter", "deadline_ms:5000:int")

    def test_batch(self):
        for transport in ("http", "grpc"):
            with self.subTest(transport):
                self.send(transport, "-b", "8", requests=20)

    def test_json_tensors(self):
        self.send("http", *self.real_data(INPUTS), "--input-tensor-format", "json", "--output-tensor-format", "json", requests=20)

    def test_streaming(self):
        self.send("grpc", *self.real_data(INPUTS), "--streaming")

    def test_compression(self):
        for algorithm in ("gzip", "deflate"):
            with self.subTest(algorithm):
                self.send("grpc", "--grpc-compression-algorithm", algorithm, requests=20)

    def test_windows(self):
        """Measured by time until stable, as it does unless told otherwise, with the server's own statistics beside."""
        for transport in ("http", "grpc"):
            with self.subTest(transport):
                printed = self.measure(transport, "--measurement-interval", "300", "--stability-percentage", "900", "--max-trials", "4")
                self.assertRegex(printed, r"throughput: [1-9]")
                self.assertRegex(printed, r"Server: *\n *Inference count: [1-9]")


Documented = documented.case("perf_analyzer", "bash", "-euc", path=[os.path.dirname(os.environ["PERF_ANALYZER"])])

if __name__ == "__main__":
    unittest.main()
