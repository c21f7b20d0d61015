package oip

// ServerMetadata answers GET /v2.
type ServerMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// ServerLive answers GET /v2/health/live.
type ServerLive struct {
	Live bool `json:"live"`
}

// ServerReady answers GET /v2/health/ready.
type ServerReady struct {
	Ready bool `json:"ready"`
	Live  bool `json:"live"`
}

// ModelReady answers GET /v2/models/{model}/ready.
type ModelReady struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
}

// ModelList answers GET /v2/models.
type ModelList struct {
	Models []string `json:"models"`
}

// ModelMetadata answers GET /v2/models/{model}. Properties are facts for which the
// protocol has no field.
type ModelMetadata struct {
	Name       string            `json:"name"`
	Versions   []string          `json:"versions"`
	Platform   string            `json:"platform"`
	Inputs     []TensorMetadata  `json:"inputs"`
	Outputs    []TensorMetadata  `json:"outputs"`
	Properties map[string]string `json:"properties,omitempty"`
}

// TensorMetadata describes an input or an output. The first dimension is the
// batch; a dimension of -1 may have any size.
type TensorMetadata struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

// RepositoryEntry is an element of the array that answers POST
// /v2/repository/index.
type RepositoryEntry struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"` // "READY" or "UNAVAILABLE"
	Reason  string `json:"reason"`
}

// ModelConfig answers GET /v2/models/{model}/config. It is that part of
// Triton's ModelConfig, as Triton writes it in JSON, that clients read.
type ModelConfig struct {
	Name            string        `json:"name"`
	Platform        string        `json:"platform"`
	Backend         string        `json:"backend"`
	MaxBatchSize    int           `json:"max_batch_size"`
	Input           []ModelInput  `json:"input"`
	Output          []ModelOutput `json:"output"`
	DynamicBatching struct{}      `json:"dynamic_batching"` // there, so that clients know that requests are batched
}

// ModelInput describes an input, without its batch dimension.
type ModelInput struct {
	Name     string  `json:"name"`
	DataType string  `json:"data_type"` // "TYPE_FP32"
	Format   string  `json:"format"`    // "FORMAT_NONE"
	Dims     []int64 `json:"dims"`
	Optional bool    `json:"optional"`
}

// ModelOutput describes an output, without its batch dimension.
type ModelOutput struct {
	Name     string  `json:"name"`
	DataType string  `json:"data_type"`
	Dims     []int64 `json:"dims"`
}

// ErrorBody is the body of every answer that is not a success. The fields besides "error"
// are for programs.
type ErrorBody struct {
	Error        string   `json:"error"`
	BestAccuracy *float64 `json:"best_accuracy,omitempty"`  // the highest possible floor
	RetryAfterMS int64    `json:"retry_after_ms,omitempty"` // a retry may succeed after this time
	Job          string   `json:"job,omitempty"`            // the server's id of the request
}
