package oip

// StatusClientClosed is the HTTP status of a request whose client went away before the
// answer. nginx introduced it; it is not in the registry of HTTP statuses.
const StatusClientClosed = 499

// Names that mosel adds to the protocol: HTTP headers over REST, keys of metadata and
// trailers over gRPC, where they are in lower case.
const (
	// HeaderClient identifies the client on whose behalf a request is made, for fair
	// sharing of the server.
	HeaderClient = "X-Mosel-Client"
	// HeaderJob is the server's id of a request, by which it can be explained.
	HeaderJob = "X-Mosel-Job"
	// HeaderRetryAfter is how many milliseconds to wait before a retry. Only over gRPC;
	// REST has it in ErrorBody.
	HeaderRetryAfter = "X-Mosel-Retry-After-Ms"
	// HeaderBestAccuracy is the highest possible floor. Only over gRPC; REST has it in
	// ErrorBody.
	HeaderBestAccuracy = "X-Mosel-Best-Accuracy"
)
