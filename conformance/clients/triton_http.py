"""tritonclient over HTTP, as its documentation teaches it."""

import unittest
import urllib.request

import documented
import tritonclient.http as triton
from digits import INPUTS, MODEL, REST, SAMPLES, SEVEN, SUBSETS, THREE, array, right
from tritonclient.utils import InferenceServerException

OUTPUT = "probabilities"


def inputs(samples, modalities=INPUTS, binary=True):
    """Tensors of some modalities of the samples."""
    tensors = []
    for name in modalities:
        data = array(name, samples)
        tensor = triton.InferInput(name, list(data.shape), INPUTS[name][0])
        tensors.append(tensor.set_data_from_numpy(data, binary_data=binary))
    return tensors


class Case(unittest.TestCase):
    def setUp(self):
        self.client = triton.InferenceServerClient(REST, concurrency=4)
        self.addCleanup(self.client.close)

    def refused(self, status, words, call, *args, **kwargs):
        """Checks that the call fails with this status and the words in the exception."""
        with self.assertRaises(InferenceServerException) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.status(), status, caught.exception)
        self.assertIn(words, caught.exception.message())


class Server(Case):
    def test_live_and_ready(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())

    def test_metadata(self):
        metadata = self.client.get_server_metadata()
        self.assertEqual(metadata["name"], "mosel")
        self.assertTrue(metadata["version"])
        self.assertLessEqual({"binary_tensor_data", "model_configuration", "model_repository", "statistics"}, set(metadata["extensions"]))

    def test_index(self):
        (entry,) = [e for e in self.client.get_model_repository_index() if e["name"] == MODEL]
        self.assertEqual((entry["version"], entry["state"]), ("1", "READY"))


class Model(Case):
    def test_ready(self):
        self.assertTrue(self.client.is_model_ready(MODEL))
        self.assertTrue(self.client.is_model_ready(MODEL, "1"))
        self.assertFalse(self.client.is_model_ready(MODEL, "2"))
        self.assertFalse(self.client.is_model_ready("nobody"))

    def test_metadata(self):
        for version in ("", "1"):
            metadata = self.client.get_model_metadata(MODEL, version)
            self.assertEqual(metadata["name"], MODEL)
            self.assertEqual(metadata["versions"], ["1"])
            self.assertEqual({t["name"]: (t["datatype"], t["shape"]) for t in metadata["inputs"]}, {n: (d, [-1, *s]) for n, (d, s) in INPUTS.items()})
            self.assertEqual([(t["name"], t["datatype"], t["shape"]) for t in metadata["outputs"]], [(OUTPUT, "FP32", [-1, 10])])
            self.assertEqual(metadata["properties"]["modalities"], "image,audio,text")

    def test_config(self):
        config = self.client.get_model_config(MODEL)
        self.assertEqual(config["name"], MODEL)
        self.assertEqual(config["max_batch_size"], 32)
        self.assertEqual({t["name"]: (t["data_type"], t["dims"]) for t in config["input"]}, {n: ("TYPE_" + d, s) for n, (d, s) in INPUTS.items()})
        self.assertTrue(all(t["optional"] for t in config["input"]))
        self.assertEqual([(t["name"], t["data_type"], t["dims"]) for t in config["output"]], [(OUTPUT, "TYPE_FP32", [10])])

    def test_statistics(self):
        def count():
            (stats,) = self.client.get_inference_statistics(MODEL)["model_stats"]
            self.assertEqual((stats["name"], stats["version"]), (MODEL, "1"))
            return stats["inference_count"], stats["execution_count"], stats["inference_stats"]["success"]["count"]

        before = count()
        self.client.infer(MODEL, inputs(SAMPLES[:4]))
        after = count()
        self.assertEqual(after[0] - before[0], 4)
        self.assertGreaterEqual(after[1], before[1] + 1)
        self.assertEqual(after[2] - before[2], 1)
        everything = self.client.get_inference_statistics()["model_stats"]
        self.assertIn(MODEL, [s["name"] for s in everything])

    def test_unload_and_load(self):
        self.client.unload_model(MODEL)
        try:
            self.assertFalse(self.client.is_model_ready(MODEL))
            (entry,) = [e for e in self.client.get_model_repository_index() if e["name"] == MODEL]
            self.assertNotEqual(entry.get("state"), "READY")
            with self.assertRaises(InferenceServerException):
                self.client.infer(MODEL, inputs([SEVEN]))
        finally:
            self.client.load_model(MODEL)
        self.assertTrue(self.client.is_model_ready(MODEL))
        self.assertEqual(right(self.client.infer(MODEL, inputs([SEVEN])).as_numpy(OUTPUT), [SEVEN]), 1)

    def test_load_unknown(self):
        self.refused("404", "nobody", self.client.load_model, "nobody")


class Infer(Case):
    def infer(self, samples, modalities=INPUTS, binary=True, **kwargs):
        return self.client.infer(MODEL, inputs(samples, modalities, binary), **kwargs)

    def test_binary_and_json(self):
        """The four ways to carry tensors give the same numbers."""
        exactly = {"modalities": "image,audio,text"}
        answers = []
        for binary_in in (True, False):
            for binary_out in (True, False):
                outputs = [triton.InferRequestedOutput(OUTPUT, binary_data=binary_out)]
                result = self.infer(SAMPLES[:3], binary=binary_in, outputs=outputs, parameters=exactly)
                self.assertEqual("data" in result.get_output(OUTPUT), not binary_out)
                answers.append(result.as_numpy(OUTPUT))
        for answer in answers:
            self.assertEqual(answer.shape, (3, 10))
            self.assertEqual(answer.tolist(), answers[0].tolist())
            self.assertEqual(right(answer, SAMPLES[:3]), 3)

    def test_every_subset(self):
        for modalities in SUBSETS:
            with self.subTest(modalities):
                result = self.infer([SEVEN, THREE], modalities)
                self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN, THREE]), 2)
                self.assertLessEqual(set(result.get_response()["parameters"]["modalities"].split(",")), set(modalities))

    def test_id_and_version(self):
        response = self.infer([SEVEN], model_version="1", request_id="a-7").get_response()
        self.assertEqual((response["id"], response["model_name"], response["model_version"]), ("a-7", MODEL, "1"))
        self.assertNotIn("id", self.infer([SEVEN]).get_response())

    def test_floor(self):
        for floor in (0.97, "0.97"):
            with self.subTest(floor):
                result = self.infer(SAMPLES, parameters={"min_accuracy": floor})
                self.assertGreaterEqual(result.get_response()["parameters"]["expected_accuracy"], 0.97)
                self.assertGreaterEqual(right(result.as_numpy(OUTPUT), SAMPLES), 0.9 * len(SAMPLES))

    def test_explicit_modalities(self):
        for modalities in ("text", "image,text"):
            facts = self.infer([SEVEN], parameters={"modalities": modalities}).get_response()["parameters"]
            self.assertEqual(facts["modalities"], modalities)
            self.assertEqual(facts["variant"], modalities.replace(",", "_"))
        self.refused("400", "audio", self.infer, [SEVEN], ["text"], parameters={"modalities": "audio"})

    def test_deadline(self):
        for asked in ({"parameters": {"deadline_ms": 5000}}, {"timeout": 5_000_000}, {"headers": {"x-mosel-deadline-ms": "5000"}}):
            facts = self.infer([SEVEN], **asked).get_response()["parameters"]
            self.assertLess(facts["queue_us"] + facts["compute_us"], 5_000_000)
            self.assertNotIn("late", facts)

    def test_deadline_that_cannot_be_kept(self):
        for asked in ({"parameters": {"deadline_ms": 0.001}}, {"timeout": 1}):
            with self.assertRaises(InferenceServerException) as caught:
                self.infer([SEVEN], **asked)
            self.assertIn(caught.exception.status(), ("429", "504"), caught.exception)

    def test_priority_and_sequence_are_ignored(self):
        result = self.infer([SEVEN], priority=1, sequence_id=7, sequence_start=True, sequence_end=True)
        self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN]), 1)

    def test_compression(self):
        plain = self.infer(SAMPLES, parameters={"modalities": "image,text"}).as_numpy(OUTPUT)
        for there in (None, "gzip", "deflate"):
            for back in (None, "gzip", "deflate"):
                for binary in (True, False):
                    with self.subTest(there=there, back=back, binary=binary):
                        result = self.infer(SAMPLES, binary=binary, parameters={"modalities": "image,text"},
                                            outputs=[triton.InferRequestedOutput(OUTPUT, binary_data=binary)],
                                            request_compression_algorithm=there, response_compression_algorithm=back)
                        self.assertEqual(result.as_numpy(OUTPUT).tolist(), plain.tolist())

    def test_own_transport(self):
        """The body made and the answer read by tritonclient, sent by somebody else."""
        body, length = triton.InferenceServerClient.generate_request_body(inputs([SEVEN]))
        request = urllib.request.Request(f"http://{REST}/v2/models/{MODEL}/infer", body, {"Inference-Header-Content-Length": str(length)})
        with urllib.request.urlopen(request, timeout=10) as answer:
            result = triton.InferenceServerClient.parse_response_body(answer.read(), header_length=int(answer.headers["Inference-Header-Content-Length"]))
        self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN]), 1)

    def test_async(self):
        pending = [self.client.async_infer(MODEL, inputs([s]), request_id=str(i), parameters={"min_accuracy": 0.97}) for i, s in enumerate(SAMPLES[:16])]
        results = [p.get_result(timeout=30) for p in pending]
        self.assertEqual([r.get_response()["id"] for r in results], [str(i) for i in range(16)])
        self.assertGreaterEqual(sum(right(r.as_numpy(OUTPUT), [s]) for r, s in zip(results, SAMPLES)), 14)

    def test_async_error(self):
        pending = self.client.async_infer("nobody", inputs([SEVEN]))
        self.refused("404", "nobody", pending.get_result, timeout=30)


class Errors(Case):
    def bad(self, name="text", shape=(1, 12), datatype="UINT8"):
        """A text input that claims what it is not."""
        tensor = inputs([SEVEN], ["text"])[0]
        tensor._name, tensor._shape, tensor._datatype = name, list(shape), datatype
        return [tensor]

    def test_unknown_model_and_version(self):
        self.refused("404", "nobody", self.client.infer, "nobody", inputs([SEVEN]))
        self.refused("404", "version", self.client.infer, MODEL, inputs([SEVEN]), model_version="2")
        for call in (self.client.get_model_metadata, self.client.get_model_config, self.client.get_inference_statistics):
            self.refused("404", "nobody", call, "nobody")

    def test_bad_tensors(self):
        for tensors, words in (
            (self.bad(shape=(1, 13)), "shape"),
            (self.bad(shape=(1, -12)), "shape"),
            (self.bad(datatype="INT8"), "UINT8"),
            (self.bad(datatype="FLOAT"), "FLOAT"),
            (self.bad(name="smell"), "smell"),
            (self.bad() + self.bad(), "text"),
        ):
            self.refused("400", words, self.client.infer, MODEL, tensors)

    def test_shape_beyond_all_bounds(self):
        self.refused("413", "too large", self.client.infer, MODEL, self.bad(shape=(1 << 40, 12)))

    def test_bad_output(self):
        self.refused("400", "nothing", self.client.infer, MODEL, inputs([SEVEN]), outputs=[triton.InferRequestedOutput("nothing")])

    def test_impossible_floor(self):
        self.refused("422", "0.79", self.client.infer, MODEL, inputs([SEVEN], ["text"]), parameters={"min_accuracy": 0.97})

    def test_bad_parameters(self):
        for parameters in ({"min_accuracy": "much"}, {"deadline_ms": -1}, {"modalities": "smell"}):
            self.refused("400", next(iter(parameters)), self.client.infer, MODEL, inputs([SEVEN]), parameters=parameters)

    def test_serves_on(self):
        """After an error the same connection serves the next request."""
        self.refused("404", "nobody", self.client.infer, "nobody", inputs(SAMPLES))
        self.assertEqual(right(self.client.infer(MODEL, inputs([THREE])).as_numpy(OUTPUT), [THREE]), 1)


Documented = documented.case("tritonclient over HTTP")

if __name__ == "__main__":
    unittest.main()
