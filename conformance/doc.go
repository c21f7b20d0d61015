// Package conformance is a test suite for servers of the Open Inference Protocol v2,
// over REST and over gRPC: for mosel and for any other server. There is no other public
// suite, and what clients rely on (docs/protocol.md) is documented only in their
// source code, so it is written here as tests.
//
//	go test ./conformance                                        # mosel, started in the process
//	go test ./conformance -addr http://host:8000 -grpc host:8001 # any server
//
// The package has only tests. They use real sockets and share nothing with the server
// except the generated gRPC messages: they build requests byte by byte and read
// answers with the standard library, so that a mistake in package oip cannot hide
// itself. Requests follow from the metadata of the server's model, so any model works.
//
// A test that does not apply to a server skips, and says which fact about the server
// was the reason. docs/conformance.md explains how to run the suite and how to read its
// output.
package conformance
