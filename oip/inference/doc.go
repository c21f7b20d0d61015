// Package inference is the Open Inference Protocol v2 over gRPC: the messages and
// the service of inference.proto, generated from it by `make generate`, and what
// turns the messages into those of package oip, which has the same protocol over
// REST, and back. It stands apart from oip so that a program that speaks only
// REST needs no gRPC.
//
// Decoding reads messages from outside: it never panics, every size has a bound
// in oip.Limits, and a decoded tensor has exactly the bytes its shape asks for.
// Raw contents are not copied in either direction. The size of the message itself
// is the business of whoever receives it.
package inference
