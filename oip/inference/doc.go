// Package inference is the Open Inference Protocol v2 over gRPC: the messages and
// the service of inference.proto, generated from it by `make generate`. Package
// oip has the same protocol over REST, and turns tensors into bytes for both.
package inference
