// Package conformance is a suite of tests for servers of the Open Inference
// Protocol v2, over REST and over gRPC: mosel's own and any other. There is no
// public one, and what clients really rely on (docs/protocol.md) stands nowhere
// but in their sources, so it is written down here as tests.
//
//	go test ./conformance                                        # mosel, started in the process
//	go test ./conformance -addr http://host:8000 -grpc host:8001 # any server
//
// There is no code but tests in it. They speak over real sockets and share
// nothing with the server but the generated gRPC messages: what they send they
// put together byte by byte, and what they get they read with the standard
// library, so that a mistake in package oip cannot hide itself. What is sent
// follows from the metadata of the server's model, so any model will do.
//
// A test that does not apply to a server skips, and says which fact about the
// server decided it. docs/conformance.md says how to run the suite and how to
// read what it prints.
package conformance
