// Package replay sends load to a server and reports the results as a client sees
// them: whether answers are on time, and whether labels confirm their expected
// accuracy.
//
// The load is open-loop: all arrival times are drawn before the run, from a seed, and
// latencies are measured from the instant at which a request was meant to be sent. A
// server that stalls therefore does not slow down its own test (coordinated omission).
// If the generator itself is late, the report says so. Samples come from the model's
// held-out set, which was used neither for training nor for profiling.
//
// Workload draws Jobs, Run sends them, and Log.Report makes the Report. Server is a
// child process that serves during a run. Shifted changes what is sent during a part of a
// run, and Log.Timeline shows what became of the accuracy.
package replay
