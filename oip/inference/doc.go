// Package inference is the Open Inference Protocol v2 over gRPC: the messages and the
// service, generated from inference.proto by `make generate`, and their conversion to
// and from the messages of package oip, which has the same protocol over REST. It is
// apart from oip so that a program that uses only REST needs no gRPC.
//
// Decoding is safe for untrusted messages: it never panics, every size has a bound in
// oip.Limits, and a decoded tensor has exactly as many bytes as its shape needs. Raw
// contents are not copied in either direction. Whoever receives a message must bound
// its size.
package inference
