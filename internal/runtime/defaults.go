package runtime

// Defaults chooses how many instances, and intra-op threads for each, suit so many
// cores. One thread per instance uses a core better than several that wait for each
// other (docs/runtime.md has the measurement). From spareCores cores on, one is left
// for decoding, the network and planning. On fewer cores that would be too much of
// the machine: on two cores, two instances carry 1.3 times the load of one.
func Defaults(cores int) (instances, threads int) {
	if cores < spareCores {
		return max(1, cores), 1
	}
	return cores - 1, 1
}

const spareCores = 4
