// Package jobs keeps durable jobs: many items for one model with one accuracy floor and
// one deadline, whose inputs and results outlive the process.
//
// The flow is one line:
//
//	Submit (accept) -> Store -> worker -> Runner (the engine) -> Store -> Results
//
// # Order of writes
//
// Every key of the store is created once and never changed, so the state of a job is a
// function of the set of its keys, and a crash between any two writes leaves a state
// from which the job goes on:
//
//  0. key.HASH     the id that belongs to an idempotency key of a client, if there is one
//  1. in.ID.N      the pieces of the input
//  2. spec.ID      the job is accepted; only now the client gets its answer
//  3. run.ID.N     a process begins or continues the job for the N-th time
//  4. out.ID.K.X.N the pieces of the result of chunk K, if it is large; X is drawn anew in each attempt
//  5. res.ID.K     chunk K has its result; the first one that is created counts, in every later process too
//  6. end.ID       the job has ended: completed, failed, cancelled or late; the first one counts
//
// What a crash leaves behind without effect is deleted when the store is opened, and
// each minute: pieces of inputs without spec, and of ended jobs; keys without job. A job is deleted by deleting its spec
// first. Results are read only from the store, so nobody sees a value that a crash could
// replace.
//
// A write whose answer is lost may have happened. Every write is therefore repeated
// until its key is known to exist, and the value that is there is adopted.
//
// # Floors
//
// A ledger adds up what the stored chunks are expected to score. The floor of the next
// chunk is what the items without a result must still score on average, see ledger. It
// follows from the stored chunks alone, so it is the same after a crash.
//
// # Failures
//
// An error of the store ends the manager's session: all work stops, the store is opened
// again, and the state is read from it, exactly as after a crash. While there is no
// session, calls fail with kind unavailable; inference goes on.
package jobs
