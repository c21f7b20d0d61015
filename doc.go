// Package mosel has no code. It describes the project: what mosel does, its
// packages, and in which order to read them.
//
// mosel is an inference server for multi-modal machine-learning models. For every
// request it decides which of the input modalities to run. A client states the
// accuracy it needs and a deadline. mosel runs the cheapest choice that meets both.
// The answer says what ran and what accuracy to expect.
//
// # Packages
//
// The main packages form one line. A package imports only packages to its left;
// arch_test.go has the table of allowed imports:
//
//	slo -> modelpkg -> plan -> sched -> engine -> api -> server -> cmd
//
// Public packages, which can be used without the others:
//
//	tensor               tensors: element type, shape and bytes, to and from Go values, without copies
//	oip                  the Open Inference Protocol over REST: JSON and its binary extension
//	oip/inference        the same protocol over gRPC: messages, service, conversion to and from oip
//	client               Go SDK: calls, asynchronous calls and streams, over REST
//	client/clientgrpc    gRPC for the SDK, as a separate import
//	status               what a server reports about itself, and about one job
//	models               the shipped model packages; the example is embedded in the program
//	web                  the pages that a server shows in a browser
//	conformance          tests for any server of the protocol, run with go test
//
// The main line:
//
//	internal/slo         the core's types: instants, accuracies, objectives, outcomes, errors
//	internal/modelpkg    reads and checks a model package with its profiles
//	internal/plan        frontier, exact strategies, matrix: pure functions on values
//	internal/sched       the core: admission, ledgers, queue, batching across jobs, dispatch
//	internal/engine      runs the core with a real clock: goroutines, payloads, instances
//	internal/repository  loads, replaces and unloads models as the model directory changes
//	internal/api         REST and gRPC; the only package that turns errors into status codes
//	internal/server      configuration, start, ready, drain
//	cmd/mosel            the command line, one short file for each subcommand
//
// The other packages:
//
//	internal/runtime     the interface to what runs a graph, its conformance suite, and its implementations: ONNX Runtime, separate processes, other servers, a fake
//	internal/cascade     finds cascades of two variants and certifies them
//	internal/feedback    remembers answers, scores labels that come later, keeps what was measured
//	internal/jobs        durable jobs: accepted when stored, continued after a crash; their store on NATS JetStream
//	internal/profiler    measures a model's variants and writes a profile
//	internal/proposal    a first mosel.yaml for a directory of graphs
//	internal/stats       statistics of durations: quantiles, distributions, milliseconds
//	internal/drift       notices that a served variant is less accurate than its profile says
//	internal/exits       decides how many stages of which model to keep loaded, where models have early exits
//	internal/pending     bounded waiting for work that may hang; lists what has not ended
//	internal/asynclog    a log writer that never blocks its caller
//	internal/strictyaml  strict YAML; every error has its line
//	internal/access      who may do what: roles, tokens, TLS
//	internal/media       turns images, recordings and texts into a model's inputs
//	internal/plot        charts as SVG or PNG
//	internal/workload    random loads, for the load generator and the simulator
//	internal/record      records of jobs and batches, from the core's events and actions
//	internal/feed        delivers the core's steps to subscribers, without delaying the core
//	internal/obs         a running server's metrics, status and explanations
//	internal/sim         runs the core with a virtual clock; checks invariants after every step
//	internal/scenario    scenario files, run in the simulator with every policy
//	internal/replay      sends load to a server and reports the results
//	internal/servebench  a program that measures the cost of serving itself
//	internal/driftbench  a program that measures what is noticed when the data change
//	internal/dominance   a program that finds where another policy is better than mosel
//	internal/exitbench   a program that measures what early exits and partial loading are worth
//	internal/doctor      checks whether a server would work on this machine
//	internal/samplebench a program that compares all ways of choosing what runs for an item
//	internal/cachedir    directories for files that can be made again
//	internal/example     the example package as a directory
//	internal/demo        compares the capacity of policies "mosel" and "all"
//
// # Reading order
//
// Start with internal/slo, which has the basic types. Then read
// internal/modelpkg/model.go (what a model is), internal/plan (the cheapest
// strategy), internal/sched (the choice under load, one event at a time; its
// package comment states the duties of a driver) and internal/engine (the same
// core with a real clock). docs/architecture.md follows one request through all of
// them, docs/invariants.md lists the invariants, docs/decisions explains the design.
package mosel
