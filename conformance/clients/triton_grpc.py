"""tritonclient over gRPC, as its documentation teaches it."""

import queue
import unittest

import documented
import tritonclient.grpc as triton
from digits import GRPC, INPUTS, MODEL, SAMPLES, SEVEN, SUBSETS, THREE, array, right
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

OUTPUT = "probabilities"
SLOW = {"modalities": "image,audio,text"}  # with hundreds of samples: half a second at the least


def inputs(samples, modalities=INPUTS):
    """Tensors of some modalities of the samples."""
    tensors = []
    for name in modalities:
        data = array(name, samples)
        tensors.append(triton.InferInput(name, list(data.shape), INPUTS[name][0]).set_data_from_numpy(data))
    return tensors


def fact(result, name):
    """One of the parameters with which an answer says what ran."""
    parameter = result.get_response().parameters[name]
    return getattr(parameter, parameter.WhichOneof("parameter_choice"))


class Case(unittest.TestCase):
    def setUp(self):
        self.client = triton.InferenceServerClient(GRPC)
        self.addCleanup(self.client.close)

    def refused(self, status, words, call, *args, **kwargs):
        """Checks that the call fails with this status and the words in the exception."""
        with self.assertRaises(InferenceServerException) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.status(), "StatusCode." + status, caught.exception)
        self.assertIn(words, caught.exception.message())

    def infer(self, samples, modalities=INPUTS, **kwargs):
        return self.client.infer(MODEL, inputs(samples, modalities), **kwargs)


class Server(Case):
    def test_live_and_ready(self):
        self.assertIs(self.client.is_server_live(), True)
        self.assertIs(self.client.is_server_ready(), True)

    def test_metadata(self):
        metadata = self.client.get_server_metadata()
        self.assertEqual(metadata.name, "mosel")
        self.assertTrue(metadata.version)
        self.assertLessEqual({"model_configuration", "model_repository", "statistics"}, set(metadata.extensions))
        self.assertEqual(self.client.get_server_metadata(as_json=True)["name"], "mosel")

    def test_index(self):
        (entry,) = [e for e in self.client.get_model_repository_index().models if e.name == MODEL]
        self.assertEqual((entry.version, entry.state), ("1", "READY"))


class Model(Case):
    def test_ready(self):
        self.assertIs(self.client.is_model_ready(MODEL), True)
        self.assertIs(self.client.is_model_ready(MODEL, "1"), True)

    def test_not_ready(self):
        """Triton answers for a model it does not have with false, others with NOT_FOUND."""
        for model, version in (("nobody", ""), (MODEL, "2")):
            try:
                self.assertIs(self.client.is_model_ready(model, version), False)
            except InferenceServerException as e:
                self.assertEqual(e.status(), "StatusCode.NOT_FOUND")

    def test_metadata(self):
        metadata = self.client.get_model_metadata(MODEL)
        self.assertEqual((metadata.name, list(metadata.versions)), (MODEL, ["1"]))
        self.assertEqual({t.name: (t.datatype, list(t.shape)) for t in metadata.inputs}, {n: (d, [-1, *s]) for n, (d, s) in INPUTS.items()})
        self.assertEqual([(t.name, t.datatype, list(t.shape)) for t in metadata.outputs], [(OUTPUT, "FP32", [-1, 10])])

    def test_config(self):
        config = self.client.get_model_config(MODEL).config
        self.assertEqual((config.name, config.max_batch_size), (MODEL, 32))
        types = {d: model_config_pb2.DataType.Value("TYPE_" + d) for d in ("UINT8", "INT16", "FP32")}
        self.assertEqual({t.name: (t.data_type, list(t.dims), t.optional) for t in config.input}, {n: (types[d], s, True) for n, (d, s) in INPUTS.items()})
        self.assertEqual([(t.name, t.data_type, list(t.dims)) for t in config.output], [(OUTPUT, types["FP32"], [10])])

    def test_statistics(self):
        def count():
            (stats,) = self.client.get_inference_statistics(MODEL).model_stats
            self.assertEqual((stats.name, stats.version), (MODEL, "1"))
            return stats.inference_count, stats.execution_count, stats.inference_stats.success.count

        before = count()
        self.infer(SAMPLES[:4])
        after = count()
        self.assertEqual(after[0] - before[0], 4)
        self.assertGreaterEqual(after[1], before[1] + 1)
        self.assertEqual(after[2] - before[2], 1)
        self.assertIn(MODEL, [s.name for s in self.client.get_inference_statistics().model_stats])

    def test_unload_and_load(self):
        self.client.unload_model(MODEL)
        try:
            (entry,) = [e for e in self.client.get_model_repository_index().models if e.name == MODEL]
            self.assertNotEqual(entry.state, "READY")
            with self.assertRaises(InferenceServerException):
                self.infer([SEVEN])
        finally:
            self.client.load_model(MODEL)
        self.assertIs(self.client.is_model_ready(MODEL), True)
        self.assertEqual(right(self.infer([SEVEN]).as_numpy(OUTPUT), [SEVEN]), 1)

    def test_load_unknown(self):
        self.refused("NOT_FOUND", "nobody", self.client.load_model, "nobody")


class Infer(Case):
    def test_every_subset(self):
        for modalities in SUBSETS:
            with self.subTest(modalities):
                result = self.infer([SEVEN, THREE], modalities)
                self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN, THREE]), 2)
                self.assertLessEqual(set(fact(result, "modalities").split(",")), set(modalities))

    def test_id_and_version(self):
        response = self.infer([SEVEN], model_version="1", request_id="a-7", outputs=[triton.InferRequestedOutput(OUTPUT)]).get_response()
        self.assertEqual((response.id, response.model_name, response.model_version), ("a-7", MODEL, "1"))
        self.assertEqual(self.infer([SEVEN]).get_response(as_json=True)["model_name"], MODEL)

    def test_floor(self):
        for floor in (0.97, "0.97"):
            with self.subTest(floor):
                result = self.infer(SAMPLES, parameters={"min_accuracy": floor})
                self.assertGreaterEqual(float(fact(result, "expected_accuracy")), 0.97)
                self.assertGreaterEqual(right(result.as_numpy(OUTPUT), SAMPLES), 0.9 * len(SAMPLES))

    def test_explicit_modalities(self):
        for modalities in ("text", "image,text"):
            result = self.infer([SEVEN], parameters={"modalities": modalities})
            self.assertEqual(fact(result, "modalities"), modalities)
            self.assertEqual(fact(result, "variant"), modalities.replace(",", "_"))
        self.refused("INVALID_ARGUMENT", "audio", self.infer, [SEVEN], ["text"], parameters={"modalities": "audio"})

    def test_deadline(self):
        for asked in ({"parameters": {"deadline_ms": 5000}}, {"parameters": {"deadline_ms": 5000.0}}, {"timeout": 5_000_000}, {"client_timeout": 5},
                      {"headers": {"x-mosel-deadline-ms": "5000"}}):
            result = self.infer([SEVEN], **asked)
            self.assertLess(fact(result, "queue_us") + fact(result, "compute_us"), 5_000_000)

    def test_deadline_that_cannot_be_kept(self):
        for samples, asked in (
            ([SEVEN], {"parameters": {"deadline_ms": 0.001}}),
            ([SEVEN], {"timeout": 1}),
            (SAMPLES * 10, {"parameters": SLOW, "client_timeout": 0.05}),
        ):
            with self.assertRaises(InferenceServerException) as caught:
                self.infer(samples, **asked)
            self.assertIn(caught.exception.status(), ("StatusCode.RESOURCE_EXHAUSTED", "StatusCode.DEADLINE_EXCEEDED"), caught.exception)

    def test_priority_and_sequence_are_ignored(self):
        for sequence in (7, "seven"):
            result = self.infer([SEVEN], priority=1, sequence_id=sequence, sequence_start=True, sequence_end=True)
            self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN]), 1)

    def test_compression(self):
        plain = self.infer(SAMPLES, parameters={"modalities": "image,text"}).as_numpy(OUTPUT)
        for algorithm in ("gzip", "deflate"):
            with self.subTest(algorithm):
                result = self.infer(SAMPLES, parameters={"modalities": "image,text"}, compression_algorithm=algorithm)
                self.assertEqual(result.as_numpy(OUTPUT).tolist(), plain.tolist())

    def test_large(self):
        """More than the 4 MiB that gRPC's libraries take unless told otherwise."""
        samples = SAMPLES * 10
        result = self.infer(samples, parameters={"modalities": "image"})
        self.assertEqual(result.as_numpy(OUTPUT).shape, (len(samples), 10))
        self.assertGreaterEqual(right(result.as_numpy(OUTPUT), samples), 0.85 * len(samples))

    def test_async(self):
        done = queue.Queue()
        for i, s in enumerate(SAMPLES):
            self.client.async_infer(MODEL, inputs([s]), lambda result, error: done.put((result, error)), request_id=str(i), parameters={"min_accuracy": 0.97})
        found = {}
        for _ in SAMPLES:
            result, error = done.get(timeout=30)
            self.assertIsNone(error)
            found[int(result.get_response().id)] = result.as_numpy(OUTPUT)
        self.assertEqual(sorted(found), list(range(len(SAMPLES))))
        self.assertGreaterEqual(sum(right(found[i], [s]) for i, s in enumerate(SAMPLES)), 0.9 * len(SAMPLES))

    def test_async_error(self):
        done = queue.Queue()
        self.client.async_infer("nobody", inputs([SEVEN]), lambda result, error: done.put((result, error)))
        result, error = done.get(timeout=30)
        self.assertIsNone(result)
        self.assertEqual(error.status(), "StatusCode.NOT_FOUND")

    def test_cancel(self):
        """A call that is taken back leaves a server that serves on."""
        done = queue.Queue()
        call = self.client.async_infer(MODEL, inputs(SAMPLES * 10), lambda result, error: done.put((result, error)), parameters=SLOW)
        call.cancel()
        result, error = done.get(timeout=30)
        self.assertEqual(error.status(), "StatusCode.CANCELLED")
        self.assertEqual(right(self.infer([THREE]).as_numpy(OUTPUT), [THREE]), 1)


class Stream(Case):
    def setUp(self):
        super().setUp()
        self.answers = queue.Queue()

    def start(self, **kwargs):
        self.client.start_stream(lambda result, error: self.answers.put((result, error)), **kwargs)

    def ask(self, samples, **kwargs):
        self.client.async_stream_infer(MODEL, inputs(samples), **kwargs)

    def test_many(self):
        self.start()
        for i, s in enumerate(SAMPLES):
            self.ask([s], request_id=str(i), parameters={"min_accuracy": 0.97})
        found = {}
        for _ in SAMPLES:
            result, error = self.answers.get(timeout=30)
            self.assertIsNone(error)
            self.assertGreaterEqual(float(fact(result, "expected_accuracy")), 0.97)
            found[int(result.get_response().id)] = result.as_numpy(OUTPUT)
        self.assertEqual(sorted(found), list(range(len(SAMPLES))))
        self.assertGreaterEqual(sum(right(found[i], [s]) for i, s in enumerate(SAMPLES)), 0.9 * len(SAMPLES))
        self.client.stop_stream()
        self.assertTrue(self.answers.empty())

    def test_error_in_the_middle(self):
        """An error answers the request that caused it; the stream goes on."""
        self.start()
        self.ask([SEVEN], request_id="good")
        self.ask([SEVEN], request_id="bad", parameters={"min_accuracy": "much"})
        self.client.async_stream_infer("nobody", inputs([SEVEN]), request_id="nobody")
        self.ask([THREE], request_id="good too")
        results, errors = {}, []
        for _ in range(4):
            result, error = self.answers.get(timeout=30)
            if error is None:
                results[result.get_response().id] = result.as_numpy(OUTPUT)
            else:
                errors.append(error.message())
        self.client.stop_stream()
        self.assertEqual(sorted(results), ["good", "good too"])
        self.assertEqual(right(results["good"], [SEVEN]) + right(results["good too"], [THREE]), 2)
        self.assertRegex(" ".join(errors), "min_accuracy")
        self.assertRegex(" ".join(errors), "nobody")

    def test_compression_and_final_response(self):
        """Triton's marker of the last response is asked for by clients of models that stream."""
        self.start(compression_algorithm="gzip")
        self.ask([SEVEN], enable_empty_final_response=True)
        result, error = self.answers.get(timeout=30)
        self.assertIsNone(error)
        self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN]), 1)
        self.assertIs(fact(result, "triton_final_response"), True)

    def test_cancelled(self):
        self.start()
        self.ask(SAMPLES)
        self.client.stop_stream(cancel_requests=True)
        self.start()
        while not self.answers.empty():
            self.answers.get()
        self.ask([THREE], request_id="after")
        result, error = self.answers.get(timeout=30)
        self.assertIsNone(error)
        self.assertEqual(result.get_response().id, "after")


class Errors(Case):
    def bad(self, name="text", shape=(1, 12), datatype="UINT8"):
        """A text input that claims what it is not."""
        tensor = triton.InferInput(name, list(shape), datatype)
        tensor._raw_content = SEVEN.data["text"]
        return [tensor]

    def test_unknown_model_and_version(self):
        self.refused("NOT_FOUND", "nobody", self.client.infer, "nobody", inputs([SEVEN]))
        self.refused("NOT_FOUND", "version", self.infer, [SEVEN], model_version="2")
        for call in (self.client.get_model_metadata, self.client.get_model_config, self.client.get_inference_statistics):
            self.refused("NOT_FOUND", "nobody", call, "nobody")

    def test_bad_tensors(self):
        for tensors, words in (
            (self.bad(shape=(1, 13)), "shape"),
            (self.bad(shape=(1, -12)), "shape"),
            (self.bad(datatype="INT8"), "UINT8"),
            (self.bad(datatype="FLOAT"), "FLOAT"),
            (self.bad(name="smell"), "smell"),
            (self.bad() + self.bad(), "text"),
            ([], ""),
        ):
            self.refused("INVALID_ARGUMENT", words, self.client.infer, MODEL, tensors)

    def test_bad_output(self):
        self.refused("INVALID_ARGUMENT", "nothing", self.infer, [SEVEN], outputs=[triton.InferRequestedOutput("nothing")])

    def test_impossible_floor(self):
        self.refused("FAILED_PRECONDITION", "0.79", self.infer, [SEVEN], ["text"], parameters={"min_accuracy": 0.97})

    def test_bad_parameters(self):
        for parameters in ({"min_accuracy": "much"}, {"deadline_ms": -1}, {"modalities": "smell"}):
            self.refused("INVALID_ARGUMENT", next(iter(parameters)), self.infer, [SEVEN], parameters=parameters)

    def test_not_offered(self):
        self.refused("UNIMPLEMENTED", "", self.client.get_system_shared_memory_status)
        self.refused("UNIMPLEMENTED", "", self.client.get_trace_settings)


Documented = documented.case("tritonclient over gRPC")

if __name__ == "__main__":
    unittest.main()
