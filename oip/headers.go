package oip

// Names beyond the protocol. Over REST they are HTTP headers, over gRPC the keys
// of metadata (in lower case, as metadata has them) and of trailers.
const (
	// HeaderClient says on whose behalf a request is made: the server is fair
	// between those that differ in it.
	HeaderClient = "X-Mosel-Client"
	// HeaderJob is the server's id of a request, by which it can be explained.
	HeaderJob = "X-Mosel-Job"
	// HeaderRetryAfter is how many milliseconds to wait before the same is worth
	// another try. Only over gRPC; REST has it in ErrorBody.
	HeaderRetryAfter = "X-Mosel-Retry-After-Ms"
	// HeaderBestAccuracy is the highest floor that could have been met. Only over
	// gRPC; REST has it in ErrorBody.
	HeaderBestAccuracy = "X-Mosel-Best-Accuracy"
)
