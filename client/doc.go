// Package client is the Go SDK of mosel: it sends inference requests to a server
// and says what came back, what was run for it and what accuracy to expect. It
// exists so that a Go program need not know the protocol to state the accuracy it
// needs and the time it has. Any other server of the Open Inference Protocol
// understands its requests too, without the objectives.
//
// A server is reached over REST, in the protocol's binary form, or over gRPC; the
// address given to [New] decides, and nothing else changes: not the requests, not
// the answers, not the errors. For gRPC set [Options.GRPC] to clientgrpc.Dial.
//
// There are three ways to ask. [Client.Infer] waits for the answer. [Client.Go]
// starts a call whose answer is collected later. [Client.Stream] sends many requests
// and receives their answers in order; over gRPC that is also the cheapest.
//
// What is not a success is an [*Error] with the server's words and facts, of a kind
// that errors.Is tells: [ErrOverloaded], [ErrInfeasible] and the others.
//
// A Client keeps connections open and reuses its buffers; make one and share it
// between goroutines. Whatever is under way has a bound: calls, by
// [Options.ConnectionsMax]; requests of a stream, by its window; the size of an
// answer.
package client
