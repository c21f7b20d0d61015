// Package client is the Go SDK of mosel: it sends inference requests to a
// server over REST in the binary form of the Open Inference Protocol and says
// what came back, what was run for it and what accuracy to expect. It exists so
// that a Go program need not know the protocol to state the accuracy it needs
// and the time it has. Any other server of the protocol understands its
// requests too, without the objectives.
//
// A Client keeps connections open and reuses its buffers; make one and share it
// between goroutines.
package client
