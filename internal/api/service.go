package api

import (
	"context"

	"github.com/mosel-serve/mosel/oip/inference"
)

// service implements the protocol's calls.
type service struct {
	inference.UnimplementedGRPCInferenceServiceServer
	api *API
}

// ServerLive implements the protocol.
func (s *service) ServerLive(context.Context, *inference.ServerLiveRequest) (*inference.ServerLiveResponse, error) {
	return &inference.ServerLiveResponse{Live: !s.api.dead.Load()}, nil
}

// ServerReady implements the protocol.
func (s *service) ServerReady(context.Context, *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	return &inference.ServerReadyResponse{Ready: s.api.ready()}, nil
}

// ModelReady implements the protocol.
func (s *service) ModelReady(_ context.Context, q *inference.ModelReadyRequest) (*inference.ModelReadyResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	ready, err := b.modelIsReady(q.GetName(), q.GetVersion())
	return &inference.ModelReadyResponse{Ready: ready && s.api.ready()}, err
}

// ServerMetadata implements the protocol.
func (s *service) ServerMetadata(context.Context, *inference.ServerMetadataRequest) (*inference.ServerMetadataResponse, error) {
	return inference.EncodeServerMetadata(s.api.describeServer()), nil
}

// ModelMetadata implements the protocol.
func (s *service) ModelMetadata(_ context.Context, q *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	answer, err := b.describeModel(q.GetName(), q.GetVersion())
	if err != nil {
		return nil, err
	}
	return inference.EncodeModelMetadata(answer), nil
}

// ModelConfig implements Triton's extension.
func (s *service) ModelConfig(_ context.Context, q *inference.ModelConfigRequest) (*inference.ModelConfigResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	answer, err := b.configure(q.GetName(), q.GetVersion())
	if err != nil {
		return nil, err
	}
	return &inference.ModelConfigResponse{Config: inference.EncodeModelConfig(answer)}, nil
}

// ModelStatistics implements Triton's extension.
func (s *service) ModelStatistics(_ context.Context, q *inference.ModelStatisticsRequest) (*inference.ModelStatisticsResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	answer, err := b.statistics(q.GetName(), q.GetVersion())
	if err != nil {
		return nil, err
	}
	return inference.EncodeStatistics(answer), nil
}

// RepositoryIndex implements Triton's extension.
func (s *service) RepositoryIndex(_ context.Context, q *inference.RepositoryIndexRequest) (*inference.RepositoryIndexResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	return inference.EncodeRepositoryIndex(b.listed(q.GetReady())), nil
}

// named returns the model that a request wants to load or unload. Triton and KServe
// have different fields for it.
func named(q interface {
	GetRepositoryName() string
	GetModelName() string
}) string {
	if name := q.GetModelName(); name != "" {
		return name
	}
	return q.GetRepositoryName()
}

// RepositoryModelLoad implements Triton's and KServe's extension.
func (s *service) RepositoryModelLoad(_ context.Context, q *inference.RepositoryModelLoadRequest) (*inference.RepositoryModelLoadResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	if err := noOverrides(len(q.GetParameters())); err != nil {
		return nil, err
	}
	if err := b.models.Load(named(q)); err != nil {
		return nil, err
	}
	return &inference.RepositoryModelLoadResponse{ModelName: named(q), IsLoaded: true}, nil
}

// RepositoryModelUnload implements Triton's and KServe's extension.
func (s *service) RepositoryModelUnload(_ context.Context, q *inference.RepositoryModelUnloadRequest) (*inference.RepositoryModelUnloadResponse, error) {
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	if err := b.models.Unload(named(q)); err != nil {
		return nil, err
	}
	return &inference.RepositoryModelUnloadResponse{ModelName: named(q), IsUnloaded: true}, nil
}
