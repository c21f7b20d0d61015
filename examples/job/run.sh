#!/bin/sh
# Submits the held-out samples of the model digits as one durable job, waits for it and prints its first results.
# The server must have been started with --jobs DIRECTORY.
#
#     run.sh [HOST:PORT]
set -eu
server=http://${1:-localhost:8000}
samples=$(mosel example)/eval/heldout.npz

# The floor is for the mean over all items: mosel may run the cheapest variant on many of them. The key makes the
# command safe to repeat: a second submission finds the first one's job.
mosel job submit digits --addr "$server" --input "$samples" --min-accuracy 0.97 --deadline 60s --key "example-$$" --wait --json > job.json
job=$(sed -n 's/^ *"id": "\(.*\)",$/\1/p' job.json)
rm job.json

mosel job status digits "$job" --addr "$server"
echo "the first results:"
mosel job results digits "$job" --addr "$server" | head -n 3
