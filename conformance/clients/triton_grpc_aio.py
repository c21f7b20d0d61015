"""tritonclient's asyncio client over gRPC."""

import asyncio
import unittest

import tritonclient.grpc.aio as triton
from digits import GRPC, MODEL, SAMPLES, SEVEN, SUBSETS, THREE, right
from triton_grpc import OUTPUT, fact, inputs
from tritonclient.utils import InferenceServerException


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = triton.InferenceServerClient(GRPC)
        self.addAsyncCleanup(self.client.close)

    async def test_server(self):
        self.assertTrue(await self.client.is_server_live())
        self.assertTrue(await self.client.is_server_ready())
        self.assertEqual((await self.client.get_server_metadata()).name, "mosel")
        self.assertIn((MODEL, "READY"), [(e.name, e.state) for e in (await self.client.get_model_repository_index()).models])

    async def test_model(self):
        self.assertTrue(await self.client.is_model_ready(MODEL))
        self.assertEqual((await self.client.get_model_metadata(MODEL)).inputs[0].name, "image")
        self.assertEqual((await self.client.get_model_config(MODEL, "1")).config.max_batch_size, 32)
        (stats,) = (await self.client.get_inference_statistics(MODEL)).model_stats
        self.assertEqual(stats.name, MODEL)

    async def test_infer(self):
        result = await self.client.infer(MODEL, inputs([SEVEN, THREE]), request_id="7", parameters={"min_accuracy": 0.97}, client_timeout=5)
        self.assertEqual(result.get_response().id, "7")
        self.assertGreaterEqual(float(fact(result, "expected_accuracy")), 0.97)
        self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN, THREE]), 2)

    async def test_many_at_once(self):
        floor = {"min_accuracy": 0.97}
        results = await asyncio.gather(*(self.client.infer(MODEL, inputs([s]), request_id=str(i), parameters=floor) for i, s in enumerate(SAMPLES)))
        self.assertEqual([r.get_response().id for r in results], [str(i) for i in range(len(SAMPLES))])
        self.assertGreaterEqual(sum(right(r.as_numpy(OUTPUT), [s]) for r, s in zip(results, SAMPLES)), 0.9 * len(SAMPLES))

    async def test_every_subset(self):
        results = await asyncio.gather(*(self.client.infer(MODEL, inputs([SEVEN], modalities)) for modalities in SUBSETS))
        for modalities, result in zip(SUBSETS, results):
            self.assertLessEqual(set(fact(result, "modalities").split(",")), set(modalities))
            self.assertEqual(right(result.as_numpy(OUTPUT), [SEVEN]), 1)

    async def test_stream(self):
        """Two good requests with a bad one between them."""

        async def requests():
            for identity, sample, floor in (("7", SEVEN, 0.97), ("bad", SEVEN, "much"), ("3", THREE, 0.97)):
                yield {"model_name": MODEL, "inputs": inputs([sample]), "request_id": identity, "parameters": {"min_accuracy": floor}}

        results, errors = {}, []
        async for result, error in self.client.stream_infer(requests()):
            if error is None:
                results[result.get_response().id] = result.as_numpy(OUTPUT)
            else:
                errors.append(error.message())
        self.assertEqual(sorted(results), ["3", "7"])
        self.assertEqual(right(results["7"], [SEVEN]) + right(results["3"], [THREE]), 2)
        self.assertEqual(len(errors), 1)
        self.assertIn("min_accuracy", errors[0])

    async def test_errors(self):
        for status, words, model, parameters in (
            ("NOT_FOUND", "nobody", "nobody", {}),
            ("INVALID_ARGUMENT", "min_accuracy", MODEL, {"min_accuracy": "much"}),
            ("FAILED_PRECONDITION", "0.79", MODEL, {"min_accuracy": 0.97}),
        ):
            with self.assertRaises(InferenceServerException) as caught:
                await self.client.infer(model, inputs([SEVEN], ["text"]), parameters=parameters)
            self.assertEqual(caught.exception.status(), "StatusCode." + status, caught.exception)
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
        await self.client.load_model(MODEL)
        self.assertTrue(await self.client.is_model_ready(MODEL))


if __name__ == "__main__":
    unittest.main()
