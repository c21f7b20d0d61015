"""Sends a request with tritonclient to a server that has the model digits, and prints what ran.

    python infer.py [HOST:PORT]
"""

import sys

import numpy
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1] if len(sys.argv) > 1 else "localhost:8000")

# "sevne": twelve character codes, padded with zeros. The first dimension counts items.
word = numpy.frombuffer(b"sevne".ljust(12, b"\0"), numpy.uint8).reshape(1, 12)
text = triton.InferInput("text", word.shape, "UINT8")
text.set_data_from_numpy(word)

# The floor and the deadline are request parameters; everything else is as with any other server.
answer = client.infer("digits", [text], parameters={"min_accuracy": 0.7, "deadline_ms": 1000})

ran = answer.get_response()["parameters"]
print("the digit is", answer.as_numpy("probabilities")[0].argmax())
print("ran", ran["variant"], "with an expected accuracy of", ran["expected_accuracy"])
