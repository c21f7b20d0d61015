"""The KServe SDK's client over REST, as its documentation teaches it."""

import asyncio
import logging
import unittest

import documented
import httpx
from digits import INPUTS, MODEL, REST, SAMPLES, SEVEN, SUBSETS, THREE, array, right
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

OUTPUT = "probabilities"
URL = f"http://{REST}"


def request(samples, modalities=INPUTS, binary=True, model=MODEL, **kwargs):
    """An inference request for some modalities of the samples."""
    tensors = []
    for name in modalities:
        data = array(name, samples)
        tensor = InferInput(name=name, shape=list(data.shape), datatype=INPUTS[name][0])
        tensor.set_data_from_numpy(data, binary_data=binary)
        tensors.append(tensor)
    return InferRequest(model_name=model, infer_inputs=tensors, **kwargs)


def probabilities(response):
    """The scores that an answer brings, as a numpy array [items, 10]."""
    (output,) = response.outputs
    return output.as_numpy()


class REST2(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        logging.disable(logging.CRITICAL)  # the client logs every error that it raises
        self.client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
        self.addAsyncCleanup(self.client.close)

    async def test_health(self):
        self.assertIs(await self.client.is_server_live(URL), True)
        self.assertIs(await self.client.is_server_ready(URL), True)
        self.assertIs(await self.client.is_model_ready(URL, MODEL), True)
        self.assertIs(await self.client.is_model_ready(URL, "nobody"), False)

    async def test_infer(self):
        for binary in (True, False):
            with self.subTest(binary=binary):
                response = await self.client.infer(URL, request([SEVEN, THREE], binary=binary, request_id="7"), model_name=MODEL)
                self.assertEqual((response.id, response.model_name), ("7", MODEL))
                self.assertEqual(right(probabilities(response), [SEVEN, THREE]), 2)

    async def test_binary_output(self):
        asked = [RequestedOutput(OUTPUT, {"binary_data": True})]
        headers = {}
        response = await self.client.infer(URL, request([SEVEN], request_outputs=asked), model_name=MODEL, response_headers=headers)
        self.assertIn("inference-header-content-length", headers)
        self.assertEqual(right(probabilities(response), [SEVEN]), 1)

    async def test_every_subset(self):
        for modalities in SUBSETS:
            with self.subTest(modalities):
                response = await self.client.infer(URL, request([SEVEN], modalities), model_name=MODEL)
                self.assertLessEqual(set(response.parameters["modalities"].split(",")), set(modalities))
                self.assertEqual(right(probabilities(response), [SEVEN]), 1)

    async def test_objective(self):
        for floor in (0.97, "0.97"):
            response = await self.client.infer(URL, request(SAMPLES, parameters={"min_accuracy": floor, "deadline_ms": 10_000}), model_name=MODEL)
            self.assertGreaterEqual(response.parameters["expected_accuracy"], 0.97)
            self.assertGreaterEqual(right(probabilities(response), SAMPLES), 0.9 * len(SAMPLES))

    async def test_objective_in_headers(self):
        headers = {"x-mosel-min-accuracy": "0.97", "x-mosel-deadline-ms": "10000"}
        answered = {}
        response = await self.client.infer(URL, request([SEVEN]), model_name=MODEL, headers=headers, response_headers=answered)
        self.assertGreaterEqual(response.parameters["expected_accuracy"], 0.97)
        self.assertEqual(answered["x-mosel-variant"], response.parameters["variant"])

    async def test_many_at_once(self):
        requests = [request([s], request_id=str(i), parameters={"min_accuracy": 0.97}) for i, s in enumerate(SAMPLES)]
        responses = await asyncio.gather(*(self.client.infer(URL, r, model_name=MODEL) for r in requests))
        self.assertEqual([r.id for r in responses], [str(i) for i in range(len(SAMPLES))])
        self.assertGreaterEqual(sum(right(probabilities(r), [s]) for r, s in zip(responses, SAMPLES)), 0.9 * len(SAMPLES))

    async def test_plain_dictionary(self):
        body = {"inputs": [{"name": "text", "shape": [1, 12], "datatype": "UINT8", "data": [list(SEVEN.data["text"])]}]}
        response = await self.client.infer(URL, body, model_name=MODEL)
        self.assertEqual(right(probabilities(response), [SEVEN]), 1)

    async def test_errors(self):
        for status, words, model, parameters in (
            (404, "nobody", "nobody", None),
            (400, "min_accuracy", MODEL, {"min_accuracy": "much"}),
            (422, "0.79", MODEL, {"min_accuracy": 0.97}),
        ):
            with self.assertRaises(httpx.HTTPStatusError) as caught:
                await self.client.infer(URL, request([SEVEN], ["text"], parameters=parameters), model_name=model)
            self.assertEqual(caught.exception.response.status_code, status)
            self.assertIn(words, str(caught.exception))


Documented = documented.case("KServe SDK over REST")

if __name__ == "__main__":
    unittest.main()
