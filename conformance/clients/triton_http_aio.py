"""tritonclient's asyncio client over HTTP.

Its HTTP library asks for compressed answers of its own accord, and it unpacks
only those to an inference: everything else must come as it is.
"""

import asyncio
import unittest

import tritonclient.http.aio as triton
from digits import MODEL, REST, SAMPLES, SEVEN, SUBSETS, THREE, right
from triton_http import OUTPUT, inputs
from tritonclient.utils import InferenceServerException


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = triton.InferenceServerClient(REST)
        self.addAsyncCleanup(self.client.close)

    async def test_server(self):
        self.assertTrue(await self.client.is_server_live())
        self.assertTrue(await self.client.is_server_ready())
        self.assertEqual((await self.client.get_server_metadata())["name"], "mosel")
        self.assertIn((MODEL, "READY"), [(e["name"], e["state"]) for e in await self.client.get_model_repository_index()])

    async def test_model(self):
        self.assertTrue(await self.client.is_model_ready(MODEL))
        self.assertFalse(await self.client.is_model_ready("nobody"))
        self.assertEqual((await self.client.get_model_metadata(MODEL))["inputs"][0]["name"], "image")
        self.assertEqual((await self.client.get_model_config(MODEL, "1"))["max_batch_size"], 32)
        (stats,) = (await self.client.get_inference_statistics(MODEL))["model_stats"]
        self.assertEqual(stats["name"], MODEL)

    async def test_infer(self):
        result = await self.client.infer(MODEL, inputs([SEVEN, THREE]), request_id="7", parameters={"min_accuracy": 0.97, "deadline_ms": 5000})
        response = result.get_response()
        self.assertEqual(response["id"], "7")
        self.assertGreaterEqual(response["parameters"]["expected_accuracy"], 0.97)
        self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN, THREE]), 2)

    async def test_many_at_once(self):
        floor = {"min_accuracy": 0.97}
        results = await asyncio.gather(*(self.client.infer(MODEL, inputs([s]), request_id=str(i), parameters=floor) for i, s in enumerate(SAMPLES)))
        self.assertEqual([r.get_response()["id"] for r in results], [str(i) for i in range(len(SAMPLES))])
        self.assertGreaterEqual(sum(right(r.as_numpy(OUTPUT), [s]) for r, s in zip(results, SAMPLES)), 0.9 * len(SAMPLES))

    async def test_every_subset(self):
        results = await asyncio.gather(*(self.client.infer(MODEL, inputs([SEVEN], modalities)) for modalities in SUBSETS))
        for modalities, result in zip(SUBSETS, results):
            self.assertLessEqual(set(result.get_response()["parameters"]["modalities"].split(",")), set(modalities))
            self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN]), 1)

    async def test_compression(self):
        for binary in (True, False):
            for algorithm in ("gzip", "deflate"):
                result = await self.client.infer(MODEL, inputs(SAMPLES, ["text"], binary), outputs=[triton.InferRequestedOutput(OUTPUT, binary_data=binary)],
                                                 request_compression_algorithm=algorithm, response_compression_algorithm=algorithm)
                self.assertEqual(result.as_numpy(OUTPUT).shape, (len(SAMPLES), 10))

    async def test_errors(self):
        for status, words, model, parameters in (
            ("404", "nobody", "nobody", {}),
            ("400", "min_accuracy", MODEL, {"min_accuracy": "much"}),
            ("422", "0.79", MODEL, {"min_accuracy": 0.97}),
        ):
            with self.assertRaises(InferenceServerException) as caught:
                await self.client.infer(model, inputs([SEVEN], ["text"]), parameters=parameters)
            self.assertEqual(caught.exception.status(), status, caught.exception)
            self.assertIn(words, caught.exception.message())

    async def test_given_up(self):
        """A caller that goes away leaves a server that serves on."""
        task = asyncio.create_task(self.client.infer(MODEL, inputs(SAMPLES)))
        await asyncio.sleep(0)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        result = await self.client.infer(MODEL, inputs([THREE]))
        self.assertEqual(right(result.as_numpy(OUTPUT), [THREE]), 1)

    async def test_unload_and_load(self):
        await self.client.unload_model(MODEL)
        self.assertFalse(await self.client.is_model_ready(MODEL))
        await self.client.load_model(MODEL)
        self.assertTrue(await self.client.is_model_ready(MODEL))


if __name__ == "__main__":
    unittest.main()
