#!/bin/sh
# Sends a request with curl to a server that has the model digits, and asks why it was answered as it was.
#
#     infer.sh [HOST:PORT]
set -eu
server=http://${1:-localhost:8000}

echo "the model's inputs:"
curl --silent --show-error --fail "$server/v2/models/digits"
echo

# "sevne": twelve character codes, padded with zeros. The id is the client's own.
echo "the answer:"
curl --silent --show-error --fail "$server/v2/models/digits/infer" --data '{
  "id": "curl-example",
  "inputs": [{"name": "text", "shape": [1, 12], "datatype": "UINT8", "data": [115, 101, 118, 110, 101, 0, 0, 0, 0, 0, 0, 0]}],
  "parameters": {"min_accuracy": 0.7, "deadline_ms": 1000}
}'
echo

echo "requests with this id, for 'mosel explain':"
curl --silent --show-error --fail "$server/v1/explain?client_id=curl-example"
echo
