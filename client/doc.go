// Package client is the Go SDK of mosel. It sends inference requests with the accuracy
// they need and the time they have, and returns the answers with the variant that ran
// and its expected accuracy. It works with any other server of the Open Inference
// Protocol too; such servers ignore accuracy and deadline.
//
// The address given to [New] selects the transport: REST, in the protocol's binary form,
// or gRPC. Requests, answers and errors are the same over both. For gRPC set
// [Options.GRPC] to clientgrpc.Dial.
//
// There are three ways to send requests. [Client.Infer] waits for the answer. [Client.Go]
// starts a call whose answer is collected later. [Client.Stream] sends many requests
// and receives their answers in order, which over gRPC costs least.
//
// An answer that is not a success is an [*Error] with the server's message. Use errors.Is
// with [ErrOverloaded], [ErrInfeasible] and the others to find out its kind.
//
// A Client keeps connections open and reuses its buffers: make one and share it
// between goroutines. Everything under way is bounded: calls by
// [Options.ConnectionsMax], requests of a stream by [StreamOptions.Window], the size of
// an answer by [Options.ResponseBytesMax].
package client
