// Package mosel is the front door of the house; there is no code in it.
//
// mosel serves multi-modal machine-learning models and decides, for every
// request, which of its input modalities are worth running. A client states the
// accuracy it needs and when it needs the answer; mosel keeps both promises at
// the lowest cost it can find, and says in the answer what it ran and what
// accuracy to expect.
//
// # Map of rooms
//
// Packages stand in one line and import only to their left (arch_test.go holds
// the table):
//
//	slo -> modelpkg -> plan -> sched -> engine -> api -> server -> cmd
//
// Public leaves, useful without the rest:
//
//	tensor               element type, shape and bytes, to and from Go values; views, no copies
//	oip                  the Open Inference Protocol on the wire: JSON and its binary extension
//	oip/inference        the same protocol over gRPC: messages, service, and their way to oip and back
//	client               Go SDK: calls, asynchronous calls and streams, over REST
//	client/clientgrpc    the SDK's way over gRPC, an import of its own
//	status               what a server says about itself, and about one job
//	models               the example model package, inside the program
//	conformance          tests of any server of the protocol, run with go test
//
// The spine:
//
//	internal/slo         the words: instants, accuracies, objectives, outcomes, errors
//	internal/modelpkg    a model package on disk, checked; profiles are data of a model
//	internal/plan        frontier, exact strategies, matrix: pure functions on values
//	internal/sched       the core: admission, ledgers, queue, batching across jobs, dispatch
//	internal/engine      the core under the wall clock: goroutines, payloads, instances
//	internal/repository  keeps what the engine serves in step with the model directory
//	internal/api         REST and gRPC; the only place where errors become status codes
//	internal/server      puts it all together: start, ready, drain
//	cmd/mosel            the command line, one short file for each subcommand
//
// What hangs off the spine:
//
//	internal/runtime     what runs a graph: the contract, its conformance suite, ONNX Runtime, a fake
//	internal/profiler    measures a model's variants and writes a profile
//	internal/stats       statistics of durations: quantiles, distributions, milliseconds
//	internal/pending     waits for what may hang within a context, and names what has not ended
//	internal/asynclog    a writer for logs that never makes its caller wait
//	internal/strictyaml  YAML read strictly, every error with its line
//	internal/access      who may do what: roles, tokens, TLS
//	internal/media       pictures, recordings and texts become a model's inputs
//	internal/plot        charts as SVG or PNG
//	internal/workload    loads as they are drawn, for the load generator and the simulator
//	internal/record      records of jobs and batches, from the core's events and actions
//	internal/feed        the core's steps, told to whoever follows them, away from the core
//	internal/obs         what a running server tells of itself: metrics, status, explanations
//	internal/sim         the core under a virtual clock, invariants checked after every step
//	internal/scenario    experiments as files, run in the simulator under every policy
//	internal/replay      offers load to a server from outside and reports what came of it
//	internal/servebench  a program that measures what serving itself costs
//	internal/cachedir    where files are kept that can be made again
//	internal/example     the example package as a directory
//	internal/demo        the main job: what policy "mosel" carries beside policy "all"
//
// # Reading order
//
// Start with internal/slo, half an hour for all the words. Then
// internal/modelpkg/model.go (what a model is), internal/plan (what a good
// choice is), internal/sched (the choice made under load, one event at a time;
// its package comment states the drivers' duties) and internal/engine (the same
// core on a real clock). docs/architecture.md follows one request through all
// of them, docs/invariants.md lists what must always hold, docs/decisions says
// why things are as they are.
package mosel
