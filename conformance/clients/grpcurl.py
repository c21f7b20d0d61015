"""grpcurl: gRPC by hand, with nothing but the server's reflection to go by.

The program is named by the environment variable GRPCURL.
"""

import base64
import json
import os
import re
import struct
import subprocess
import unittest

import documented
from digits import GRPC, INPUTS, MODEL, SEVEN, SUBSETS

SERVICE = "inference.GRPCInferenceService"


def grpcurl(*what, flags=(), stdin=""):
    """Runs grpcurl against the server: exit status, stdout, stderr."""
    command = [os.environ["GRPCURL"], "-plaintext", "-max-time", "20", *flags, GRPC, *what]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def messages(text):
    """The messages that grpcurl printed, field names as in the definitions."""
    def fields(message):
        return {re.sub("[A-Z]", lambda c: "_" + c[0].lower(), name): value for name, value in message.items()}

    decoder, found = json.JSONDecoder(object_hook=fields), []
    while text := text.strip():
        message, end = decoder.raw_decode(text)
        text = text[end:]
        found.append(message)
    return found


def question(modalities=INPUTS, **fields):
    """A ModelInferRequest as JSON, its tensors as raw bytes."""
    fields["model_name"] = fields.get("model_name", MODEL)
    fields["inputs"] = [{"name": n, "datatype": INPUTS[n][0], "shape": [1, *INPUTS[n][1]]} for n in modalities]
    fields["raw_input_contents"] = [base64.b64encode(SEVEN.data[n]).decode() for n in modalities]
    return json.dumps(fields)


def best(answer):
    """The digit with the highest score in a ModelInferResponse."""
    scores = struct.unpack("<10f", base64.b64decode(answer["raw_output_contents"][0]))
    return scores.index(max(scores))


class Case(unittest.TestCase):
    def calls(self, method, text="{}", flags=()):
        """Sends the messages of a text, returns the answers."""
        code, out, err = grpcurl(method, flags=[*flags, "-d", "@"], stdin=text)
        self.assertEqual(code, 0, err)
        return messages(out)

    def call(self, method, text="{}", flags=()):
        (answer,) = self.calls(f"{SERVICE}/{method}", text, flags)
        return answer

    def refused(self, code, words, method, text, flags=()):
        status, _, err = grpcurl(method, flags=[*flags, "-d", "@"], stdin=text)
        self.assertNotEqual(status, 0)
        self.assertIn(f"Code: {code}", err)
        self.assertIn(words, err)


class Reflection(Case):
    def test_list(self):
        code, out, err = grpcurl("list")
        self.assertEqual(code, 0, err)
        self.assertLessEqual({SERVICE, "grpc.health.v1.Health"}, set(out.split()))

    def test_describe(self):
        code, out, err = grpcurl("describe", SERVICE)
        self.assertEqual(code, 0, err)
        self.assertIn("rpc ModelInfer ( .inference.ModelInferRequest ) returns ( .inference.ModelInferResponse );", out)
        self.assertIn("rpc ModelStreamInfer ( stream .inference.ModelInferRequest ) returns ( stream .inference.ModelStreamInferResponse );", out)
        code, out, err = grpcurl("describe", ".inference.InferParameter")
        self.assertEqual(code, 0, err)
        self.assertIn("double double_param = 4;", out)


class Health(Case):
    def test_check(self):
        for service in ("", SERVICE):
            self.assertEqual(self.calls("grpc.health.v1.Health/Check", json.dumps({"service": service})), [{"status": "SERVING"}])
        self.refused("NotFound", "", "grpc.health.v1.Health/Check", '{"service": "nobody"}')

    def test_watch(self):
        """A watcher is told at once; here it goes away after a second."""
        _, out, err = grpcurl("grpc.health.v1.Health/Watch", flags=["-max-time", "1"])
        self.assertEqual(messages(out), [{"status": "SERVING"}])
        self.assertIn("Code: DeadlineExceeded", err)


class Inference(Case):
    def test_server(self):
        self.assertEqual(self.call("ServerLive"), {"live": True})
        self.assertEqual(self.call("ServerReady"), {"ready": True})
        self.assertEqual(self.call("ServerMetadata")["name"], "mosel")

    def test_model(self):
        asked = json.dumps({"name": MODEL})
        self.assertEqual(self.call("ModelReady", asked), {"ready": True})
        metadata = self.call("ModelMetadata", asked)
        self.assertEqual([t["name"] for t in metadata["inputs"]], list(INPUTS))
        self.assertEqual(metadata["properties"]["modalities"], "image,audio,text")
        self.assertEqual(self.call("ModelConfig", asked)["config"]["max_batch_size"], 32)
        self.assertEqual(self.call("RepositoryIndex")["models"][0]["name"], MODEL)

    def test_every_subset(self):
        for modalities in SUBSETS:
            with self.subTest(modalities):
                answer = self.call("ModelInfer", question(modalities, id="7"))
                self.assertEqual(answer["id"], "7")
                self.assertLessEqual(set(answer["parameters"]["modalities"]["string_param"].split(",")), set(modalities))
                self.assertEqual(best(answer), SEVEN.label)

    def test_typed_contents(self):
        """Every input as numbers, as a person types them."""
        image = {"uint_contents": list(SEVEN.data["image"])}
        audio = {"int_contents": list(struct.unpack("<8000h", SEVEN.data["audio"]))}
        text = {"uint_contents": list(SEVEN.data["text"])}
        inputs = [{"name": n, "datatype": INPUTS[n][0], "shape": [1, *INPUTS[n][1]], "contents": c} for n, c in zip(INPUTS, (image, audio, text))]
        self.assertEqual(best(self.call("ModelInfer", json.dumps({"model_name": MODEL, "inputs": inputs}))), SEVEN.label)

    def test_objective(self):
        floor = {"min_accuracy": {"double_param": 0.97}, "deadline_ms": {"int64_param": "5000"}}
        answer = self.call("ModelInfer", question(parameters=floor))
        expected = answer["parameters"]["expected_accuracy"]
        self.assertGreaterEqual(float(next(iter(expected.values()))), 0.97)

    def test_objective_in_metadata(self):
        answer = self.call("ModelInfer", question(["text"]), ["-H", "x-mosel-min-accuracy: 0.7"])
        self.assertEqual(answer["parameters"]["variant"]["string_param"], "text")
        self.refused("FailedPrecondition", "0.79", f"{SERVICE}/ModelInfer", question(["text"]), ["-H", "x-mosel-min-accuracy: 0.97"])

    def test_facts_in_metadata(self):
        code, out, err = grpcurl(f"{SERVICE}/ModelInfer", flags=["-v", "-d", "@"], stdin=question(["text"]))
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"(?m)^x-mosel-variant: text$")
        self.assertRegex(out, r"(?m)^x-mosel-expected-accuracy: 0\.799222$")

    def test_stream(self):
        """Three requests over one stream, the one in the middle wrong."""
        wrong = question(id="wrong", model_name="nobody")
        answers = self.calls(f"{SERVICE}/ModelStreamInfer", question(id="a") + wrong + question(id="b"))
        self.assertEqual(len(answers), 3)
        (error,) = [a for a in answers if a.get("error_message")]
        self.assertIn("nobody", error["error_message"])
        good = [a["infer_response"] for a in answers if not a.get("error_message")]
        self.assertEqual(sorted((a["id"], best(a)) for a in good), [("a", 7), ("b", 7)])

    def test_errors(self):
        self.refused("NotFound", "nobody", f"{SERVICE}/ModelInfer", question(model_name="nobody"))
        self.refused("NotFound", "nobody", f"{SERVICE}/ModelMetadata", '{"name": "nobody"}')
        self.refused("InvalidArgument", "min_accuracy", f"{SERVICE}/ModelInfer", question(parameters={"min_accuracy": {"string_param": "much"}}))
        self.refused("InvalidArgument", "", f"{SERVICE}/ModelInfer", json.dumps({"model_name": MODEL}))


Documented = documented.case("grpcurl", "bash", "-euc", path=[os.path.dirname(os.environ["GRPCURL"])])

if __name__ == "__main__":
    unittest.main()
