// Package replay offers load to a server and reports what came of it. It exists
// to test the two promises of mosel from outside, as a client sees them: answers
// in time, and a mean score that labels confirm.
//
// The load is open: every arrival is drawn before the run from a seeded
// generator, and latencies count from the instant a request was meant to be
// sent. A server that stalls therefore does not slow down its own test
// (coordinated omission); where the generator itself fell behind, the report
// says so. Samples come from the model's held-out set, which neither training
// nor profiling has seen.
//
// Workload draws Jobs, Run sends them, Log.Report makes the Report; Server is a
// child process that serves while a run lasts.
package replay
