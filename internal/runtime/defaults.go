package runtime

// Defaults returns the number of instances, and of intra-op threads for each, for a
// number of cores. One thread per instance uses a core better than several threads that
// wait for each other (measured in docs/runtime.md). From spareCores cores on, one core
// is left for decoding, the network and planning. On fewer cores that would be too much
// of the machine: on two cores, two instances serve 1.3 times the load of one.
func Defaults(cores int) (instances, threads int) {
	if cores < spareCores {
		return max(1, cores), 1
	}
	return cores - 1, 1
}

const spareCores = 4
