package inference

import "github.com/mosel-serve/mosel/oip"

// EncodeModelConfig writes what clients need of Triton's model configuration.
// Datatypes and formats that are not in the protocol become the zero value.
func EncodeModelConfig(c oip.ModelConfig) *ModelConfig {
	m := &ModelConfig{Name: c.Name, Platform: c.Platform, Backend: c.Backend, MaxBatchSize: int32(c.MaxBatchSize),
		DynamicBatching: &ModelDynamicBatching{}}
	for _, in := range c.Input {
		m.Input = append(m.Input, &ModelInput{Name: in.Name, DataType: DataType(DataType_value[in.DataType]),
			Format: ModelInput_Format(ModelInput_Format_value[in.Format]), Dims: in.Dims, Optional: in.Optional})
	}
	for _, out := range c.Output {
		m.Output = append(m.Output, &ModelOutput{Name: out.Name, DataType: DataType(DataType_value[out.DataType]), Dims: out.Dims})
	}
	return m
}

// EncodeStatistics writes the statistics of models.
func EncodeStatistics(s oip.Statistics) *ModelStatisticsResponse {
	m := &ModelStatisticsResponse{}
	for _, x := range s.ModelStats {
		model := &ModelStatistics{Name: x.Name, Version: x.Version, LastInference: x.LastInference,
			InferenceCount: x.InferenceCount, ExecutionCount: x.ExecutionCount, InferenceStats: &InferStatistics{
				Success: encodeDuration(x.InferenceStats.Success), Fail: encodeDuration(x.InferenceStats.Fail), Queue: encodeDuration(x.InferenceStats.Queue),
				ComputeInput: encodeDuration(x.InferenceStats.ComputeInput), ComputeInfer: encodeDuration(x.InferenceStats.ComputeInfer),
				ComputeOutput: encodeDuration(x.InferenceStats.ComputeOutput), CacheHit: encodeDuration(x.InferenceStats.CacheHit),
				CacheMiss: encodeDuration(x.InferenceStats.CacheMiss)}}
		for _, b := range x.BatchStats {
			model.BatchStats = append(model.BatchStats, &InferBatchStatistics{BatchSize: b.BatchSize, ComputeInput: encodeDuration(b.ComputeInput),
				ComputeInfer: encodeDuration(b.ComputeInfer), ComputeOutput: encodeDuration(b.ComputeOutput)})
		}
		m.ModelStats = append(m.ModelStats, model)
	}
	return m
}

func encodeDuration(d oip.StatisticDuration) *StatisticDuration {
	return &StatisticDuration{Count: d.Count, Ns: d.NS}
}
