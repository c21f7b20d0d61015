package oip

// Statistics answers GET /v2/models/stats, for all models, and
// GET /v2/models/{model}/stats. Clients read every field, so all are there.
type Statistics struct {
	ModelStats []ModelStatistics `json:"model_stats"`
}

// ModelStatistics is what a version of a model has done since it was loaded.
type ModelStatistics struct {
	Name           string            `json:"name"`
	Version        string            `json:"version"`
	LastInference  uint64            `json:"last_inference"`  // milliseconds since 1970; 0: none yet
	InferenceCount uint64            `json:"inference_count"` // items that were run
	ExecutionCount uint64            `json:"execution_count"` // batches
	InferenceStats InferStatistics   `json:"inference_stats"`
	BatchStats     []BatchStatistics `json:"batch_stats"` // by batch size, ascending
}

// InferStatistics counts requests and sums up their times.
type InferStatistics struct {
	Success       StatisticDuration `json:"success"` // from arrival to the end
	Fail          StatisticDuration `json:"fail"`
	Queue         StatisticDuration `json:"queue"`
	ComputeInput  StatisticDuration `json:"compute_input"`
	ComputeInfer  StatisticDuration `json:"compute_infer"`
	ComputeOutput StatisticDuration `json:"compute_output"`
	CacheHit      StatisticDuration `json:"cache_hit"`
	CacheMiss     StatisticDuration `json:"cache_miss"`
}

// BatchStatistics counts batches of one size and sums up their times.
type BatchStatistics struct {
	BatchSize     uint64            `json:"batch_size"`
	ComputeInput  StatisticDuration `json:"compute_input"`
	ComputeInfer  StatisticDuration `json:"compute_infer"`
	ComputeOutput StatisticDuration `json:"compute_output"`
}

// StatisticDuration is a number of times and their sum in nanoseconds.
type StatisticDuration struct {
	Count uint64 `json:"count"`
	NS    uint64 `json:"ns"`
}
