"""The KServe SDK's client over gRPC.

Its dialect of the protocol is the one without Triton's extensions: parameters
are booleans, whole numbers and strings, no fractions.
"""

import asyncio
import logging
import unittest

import documented
import grpc
from digits import GRPC, INPUTS, MODEL, SAMPLES, SEVEN, SUBSETS, THREE, right
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve_rest import probabilities, request


def fact(response, name):
    """One of the parameters with which an answer says what ran."""
    parameter = response.parameters[name]
    return getattr(parameter, parameter.WhichOneof("parameter_choice"))


class GRPC2(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        logging.disable(logging.CRITICAL)  # the client logs every error that it raises
        self.client = InferenceGRPCClient(GRPC, timeout=30)
        self.addAsyncCleanup(self.client.close)

    async def refused(self, status, words, call):
        """Checks that the call fails with this status and words."""
        with self.assertRaises(grpc.RpcError) as caught:
            await call
        self.assertEqual(caught.exception.code(), status, caught.exception.details())
        self.assertIn(words, caught.exception.details())

    async def test_health(self):
        self.assertIs(await self.client.is_server_live(), True)
        self.assertIs(await self.client.is_server_ready(), True)
        self.assertIs(await self.client.is_model_ready(MODEL), True)

    async def test_infer(self):
        """Tensors as raw bytes and as typed numbers."""
        for raw in (True, False):
            with self.subTest(raw=raw):
                response = await self.client.infer(request([SEVEN, THREE], binary=raw, request_id="7"))
                self.assertEqual((response.id, response.model_name, response.model_version), ("7", MODEL, "1"))
                self.assertEqual(right(probabilities(response), [SEVEN, THREE]), 2)

    async def test_every_subset(self):
        for modalities in SUBSETS:
            for raw in (True, False):
                with self.subTest(modalities, raw=raw):
                    response = await self.client.infer(request([SEVEN], modalities, binary=raw))
                    self.assertLessEqual(set(fact(response, "modalities").split(",")), set(modalities))
                    self.assertEqual(right(probabilities(response), [SEVEN]), 1)

    async def test_objective(self):
        for floor in ("0.97", "9.7e-1"):
            response = await self.client.infer(request(SAMPLES, parameters={"min_accuracy": floor, "deadline_ms": 10_000}), timeout=10)
            self.assertGreaterEqual(float(fact(response, "expected_accuracy")), 0.97)
            self.assertGreaterEqual(right(probabilities(response), SAMPLES), 0.9 * len(SAMPLES))

    async def test_objective_in_metadata(self):
        response = await self.client.infer(request([SEVEN], ["text"]), headers=(("x-mosel-min-accuracy", "0.7"), ("x-mosel-deadline-ms", "10000")))
        self.assertEqual(fact(response, "variant"), "text")
        with self.assertRaises(grpc.RpcError):
            await self.client.infer(request([SEVEN], ["text"]), headers=(("x-mosel-min-accuracy", "0.97"),))

    async def test_many_at_once(self):
        responses = await asyncio.gather(*(self.client.infer(request([s], request_id=str(i), parameters={"min_accuracy": "0.97"})) for i, s in enumerate(SAMPLES)))
        self.assertEqual([r.id for r in responses], [str(i) for i in range(len(SAMPLES))])
        self.assertGreaterEqual(sum(right(probabilities(r), [s]) for r, s in zip(responses, SAMPLES)), 0.9 * len(SAMPLES))

    async def test_errors(self):
        status = grpc.StatusCode
        await self.refused(status.NOT_FOUND, "nobody", self.client.infer(request([SEVEN], model="nobody")))
        await self.refused(status.INVALID_ARGUMENT, "min_accuracy", self.client.infer(request([SEVEN], parameters={"min_accuracy": "much"})))
        await self.refused(status.INVALID_ARGUMENT, "did you mean 0.97", self.client.infer(request([SEVEN], parameters={"min_accuracy": 97})))
        await self.refused(status.FAILED_PRECONDITION, "0.79", self.client.infer(request([SEVEN], ["text"], parameters={"min_accuracy": "0.97"})))
        short = InferInput(name="text", shape=[1, 12], datatype=INPUTS["text"][0], data=[1, 2, 3])
        await self.refused(status.INVALID_ARGUMENT, "text", self.client.infer(InferRequest(model_name=MODEL, infer_inputs=[short])))
        beyond = InferInput(name="text", shape=[1, 12], datatype=INPUTS["text"][0], data=[300] * 12)
        await self.refused(status.INVALID_ARGUMENT, "text", self.client.infer(InferRequest(model_name=MODEL, infer_inputs=[beyond])))

    async def test_unload_and_load(self):
        """The model's name is field 1 here, where Triton has the repository's."""
        stub = self.client._client_stub
        answer = await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=MODEL), timeout=30)
        self.assertEqual((answer.model_name, answer.isUnloaded), (MODEL, True))
        answer = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=MODEL), timeout=30)
        self.assertEqual((answer.model_name, answer.isLoaded), (MODEL, True))
        self.assertIs(await self.client.is_model_ready(MODEL), True)


Documented = documented.case("KServe SDK over gRPC")

if __name__ == "__main__":
    unittest.main()
