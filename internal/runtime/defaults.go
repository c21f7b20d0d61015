package runtime

// Defaults chooses how many instances, and intra-op threads for each, suit so
// many cores. One thread per instance uses a core better than several that wait
// for each other (docs/runtime.md has the measurement), and one core is left
// for decoding, the network and planning, so that inference is never late for
// lack of them.
func Defaults(cores int) (instances, threads int) { return max(1, cores-1), 1 }
