package conformance_test

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/oip/inference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const serviceName = "inference.GRPCInferenceService"

func TestGRPCHealth(t *testing.T) {
	grpcModels(t, func(t *testing.T, m *model) {
		s := m.server
		if got, err := s.grpc.ServerLive(t.Context(), &inference.ServerLiveRequest{}); err != nil || !got.GetLive() {
			t.Errorf("ServerLive: %v, %v", got, err)
		}
		s.readyGRPC(t)
		for _, version := range []string{"", m.version()} {
			if got, err := s.grpc.ModelReady(t.Context(), &inference.ModelReadyRequest{Name: m.Name, Version: version}); err != nil || !got.GetReady() {
				t.Errorf("ModelReady of version %q: %v, %v", version, got, err)
			}
		}
		for _, unknown := range []*inference.ModelReadyRequest{{Name: "no_such_model"}, {Name: m.Name, Version: "no_such_version"}, {}} {
			// One dialect answers with an error here, the other with ready false.
			if got, err := s.grpc.ModelReady(t.Context(), unknown); err == nil && got.GetReady() {
				t.Errorf("ModelReady of %v: it is ready", unknown)
			} else if err != nil {
				s.failed(t, err, codes.NotFound, codes.InvalidArgument)
			}
		}
	})
}

func TestGRPCServerMetadataIsThatOfREST(t *testing.T) {
	subject.needsGRPC(t)
	got, err := subject.grpc.ServerMetadata(t.Context(), &inference.ServerMetadataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	listed := subject.meta.Extensions[:len(subject.meta.Extensions)-len(subject.extensions)]
	if got.GetName() != subject.meta.Name || got.GetVersion() != subject.meta.Version || len(got.GetExtensions())+len(listed) > 0 && !slices.Equal(got.GetExtensions(), listed) {
		t.Errorf("%v, over REST %v", got, subject.meta)
	}
}

func TestGRPCModelMetadataIsThatOfREST(t *testing.T) {
	grpcModels(t, func(t *testing.T, m *model) {
		for _, version := range []string{"", m.version()} {
			got, err := m.server.grpc.ModelMetadata(t.Context(), &inference.ModelMetadataRequest{Name: m.Name, Version: version})
			if err != nil {
				t.Fatal(err)
			}
			specs := func(list []*inference.ModelMetadataResponse_TensorMetadata) []tensorSpec {
				var specs []tensorSpec
				for _, in := range list {
					specs = append(specs, tensorSpec{in.GetName(), in.GetDatatype(), in.GetShape()})
				}
				return specs
			}
			if got.GetName() != m.Name || !slices.Equal(got.GetVersions(), m.Versions) || got.GetPlatform() != m.Platform ||
				!reflect.DeepEqual(specs(got.GetInputs()), m.Inputs) || !reflect.DeepEqual(specs(got.GetOutputs()), m.Outputs) {
				t.Errorf("version %q: %v, over REST %+v", version, got, m)
			}
			if len(got.GetProperties())+len(m.Properties) > 0 && !reflect.DeepEqual(got.GetProperties(), m.Properties) {
				t.Errorf("version %q: properties %v, over REST %v", version, got.GetProperties(), m.Properties)
			}
		}
	})
}

func TestGRPCWhatIsNotThereIsNotFound(t *testing.T) {
	subject.needsGRPC(t)
	s, m := subject, subject.models[0]
	ctx := t.Context()
	for what, name := range map[string][2]string{"an unknown model": {"no_such_model", ""}, "an unknown version": {m.Name, "no_such_version"}} {
		t.Run(what, func(t *testing.T) {
			_, err := s.grpc.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: name[0], Version: name[1]})
			s.failed(t, err, codes.NotFound)
			r := m.request(1)
			r.ModelName, r.ModelVersion = name[0], name[1]
			s.failed(t, s.call(ctx, r).err, codes.NotFound)
			if s.lists("model_configuration") {
				_, err := s.grpc.ModelConfig(ctx, &inference.ModelConfigRequest{Name: name[0], Version: name[1]})
				s.failed(t, err, codes.NotFound)
			}
			if s.lists("statistics") {
				_, err := s.grpc.ModelStatistics(ctx, &inference.ModelStatisticsRequest{Name: name[0], Version: name[1]})
				s.failed(t, err, codes.NotFound)
			}
		})
	}
	t.Run("no name", func(t *testing.T) {
		_, err := s.grpc.ModelMetadata(ctx, &inference.ModelMetadataRequest{})
		s.failed(t, err, codes.NotFound, codes.InvalidArgument)
		s.failed(t, s.call(ctx, &inferRequest{}).err, codes.NotFound, codes.InvalidArgument)
	})
	t.Run("an unknown call", func(t *testing.T) {
		for _, method := range []string{"/" + serviceName + "/NoSuchCall", "/no.such.Service/Call"} {
			err := s.conn.Invoke(ctx, method, &inference.ServerLiveRequest{}, &inference.ServerLiveResponse{})
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("%s: %v, want UNIMPLEMENTED", method, err)
			}
		}
	})
	s.readyGRPC(t)
}

func TestGRPCConfigIsThatOfREST(t *testing.T) {
	subject.needsGRPC(t)
	subject.needs(t, "model_configuration")
	eachModel(t, func(t *testing.T, m *model) {
		got, err := m.server.grpc.ModelConfig(t.Context(), &inference.ModelConfigRequest{Name: m.Name, Version: m.version()})
		if err != nil {
			t.Fatal(err)
		}
		c := got.GetConfig()
		config := modelConfig{Name: c.GetName(), Platform: c.GetPlatform(), Backend: c.GetBackend(), MaxBatchSize: int64(c.GetMaxBatchSize())}
		for _, in := range c.GetInput() {
			config.Input = append(config.Input, configTensor{in.GetName(), in.GetDataType().String(), in.GetDims(), in.GetOptional()})
		}
		for _, out := range c.GetOutput() {
			config.Output = append(config.Output, configTensor{Name: out.GetName(), DataType: out.GetDataType().String(), Dims: out.GetDims()})
		}
		m.checkConfig(t, config)
		if config.MaxBatchSize != m.config.MaxBatchSize || config.Platform != m.config.Platform || config.Backend != m.config.Backend {
			t.Errorf("%+v, over REST %+v", config, m.config)
		}
		for i, in := range config.Input {
			if in.Optional != m.config.Input[i].Optional {
				t.Errorf("input %s is optional: %t, over REST %t", in.Name, in.Optional, m.config.Input[i].Optional)
			}
		}
	})
}

// grpcStats reads the statistics of a model.
func (m *model) grpcStats(t *testing.T) *inference.ModelStatistics {
	t.Helper()
	got, err := m.server.grpc.ModelStatistics(t.Context(), &inference.ModelStatisticsRequest{Name: m.Name, Version: m.version()})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.GetModelStats()) != 1 || got.GetModelStats()[0].GetName() != m.Name {
		t.Fatalf("the statistics of %s are %v", m.Name, got)
	}
	return got.GetModelStats()[0]
}

func TestGRPCStatisticsCountWhatWasSent(t *testing.T) {
	subject.needsGRPC(t)
	subject.needs(t, "statistics")
	eachModel(t, func(t *testing.T, m *model) {
		before, rest := m.grpcStats(t), m.stats(t)
		const requests = 3
		for range requests {
			m.replied(t, m.server.call(t.Context(), m.request(1)))
		}
		m.settled(t, rest, requests) // REST has the same counts
		after := m.grpcStats(t)
		was, is := before.GetInferenceStats(), after.GetInferenceStats()
		for name, pair := range map[string][2]*inference.StatisticDuration{"success": {was.GetSuccess(), is.GetSuccess()}, "queue": {was.GetQueue(), is.GetQueue()},
			"compute_input": {was.GetComputeInput(), is.GetComputeInput()}, "compute_infer": {was.GetComputeInfer(), is.GetComputeInfer()},
			"compute_output": {was.GetComputeOutput(), is.GetComputeOutput()}} {
			if got := pair[1].GetCount() - pair[0].GetCount(); got != requests {
				t.Errorf("%s.count went up by %d, %d requests were sent", name, got, requests)
			}
		}
		if got := after.GetInferenceCount() - before.GetInferenceCount(); got != requests {
			t.Errorf("inference_count went up by %d, %d items were sent", got, requests)
		}
		if got := after.GetExecutionCount() - before.GetExecutionCount(); got < 1 || got > requests*m.server.runsMax() {
			t.Errorf("execution_count went up by %d for %d items", got, requests)
		}
		if after.GetVersion() != m.version() || after.GetLastInference() == 0 || len(after.GetBatchStats()) == 0 {
			t.Errorf("version, last_inference or batch_stats is missing: %v", after)
		}
		if over := m.stats(t); *over.InferenceCount != after.GetInferenceCount() || *over.InferenceStats.Success.NS != is.GetSuccess().GetNs() {
			t.Errorf("%v, over REST %+v", after, over)
		}
	})
	t.Run("of all models", func(t *testing.T) {
		all, err := subject.grpc.ModelStatistics(t.Context(), &inference.ModelStatisticsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range subject.models {
			if !slices.ContainsFunc(all.GetModelStats(), func(st *inference.ModelStatistics) bool { return st.GetName() == m.Name }) {
				t.Errorf("%s is missing", m.Name)
			}
		}
	})
}

func TestGRPCRepositoryIndex(t *testing.T) {
	subject.needsGRPC(t)
	subject.needs(t, "model_repository")
	for _, ready := range []bool{false, true} {
		got, err := subject.grpc.RepositoryIndex(t.Context(), &inference.RepositoryIndexRequest{Ready: ready})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range subject.models {
			at := slices.IndexFunc(got.GetModels(), func(e *inference.RepositoryIndexResponse_ModelIndex) bool { return e.GetName() == m.Name })
			if at < 0 || got.GetModels()[at].GetState() != "READY" {
				t.Errorf("ready %t: %s is not there, or not READY: %v", ready, m.Name, got)
			}
		}
	}
}

// TestGRPCRepositoryUnloadsAndLoads uses both dialects: Triton has the model's name in
// field 2, KServe in field 1, where Triton has a repository.
func TestGRPCRepositoryUnloadsAndLoads(t *testing.T) {
	subject.needsGRPC(t)
	subject.needs(t, "model_repository")
	subject.needsAdmin(t)
	s, m := subject, subject.models[0]
	for dialect, fields := range map[string][2]string{"Triton": {"", m.Name}, "KServe": {m.Name, ""}} {
		t.Run(dialect, func(t *testing.T) {
			load := func() {
				if _, err := s.grpc.RepositoryModelLoad(t.Context(), &inference.RepositoryModelLoadRequest{RepositoryName: fields[0], ModelName: fields[1]}); err != nil {
					t.Fatalf("loading: %v", err)
				}
			}
			if _, err := s.grpc.RepositoryModelUnload(t.Context(), &inference.RepositoryModelUnloadRequest{RepositoryName: fields[0], ModelName: fields[1]}); err != nil {
				t.Fatalf("unloading: %v", err)
			}
			defer load() // for the following tests, even if this one fails
			s.failed(t, s.call(t.Context(), m.request(1)).err, codes.NotFound, codes.Unavailable)
			if got, err := s.grpc.ModelReady(t.Context(), &inference.ModelReadyRequest{Name: m.Name}); err == nil && got.GetReady() {
				t.Error("it is unloaded, and ready")
			}
			index, err := s.grpc.RepositoryIndex(t.Context(), &inference.RepositoryIndexRequest{})
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(index.GetModels(), func(e *inference.RepositoryIndexResponse_ModelIndex) bool { return e.GetName() == m.Name })
			if at < 0 || index.GetModels()[at].GetState() != "UNAVAILABLE" {
				t.Errorf("it is unloaded, and not UNAVAILABLE in the index: %v", index)
			}
			s.readyGRPC(t)
			load()
			m.replied(t, s.call(t.Context(), m.request(1)))
		})
	}
	t.Run("an unknown model", func(t *testing.T) {
		_, err := s.grpc.RepositoryModelLoad(t.Context(), &inference.RepositoryModelLoadRequest{ModelName: "no_such_model"})
		s.failed(t, err, codes.NotFound, codes.InvalidArgument)
		_, err = s.grpc.RepositoryModelUnload(t.Context(), &inference.RepositoryModelUnloadRequest{ModelName: "../../etc"})
		s.failed(t, err, codes.NotFound, codes.InvalidArgument)
		_, err = s.grpc.RepositoryModelLoad(t.Context(), &inference.RepositoryModelLoadRequest{})
		s.failed(t, err, codes.NotFound, codes.InvalidArgument)
	})
}

// TestGRPCHealthService tests the health service that Kubernetes and load balancers
// use.
func TestGRPCHealthService(t *testing.T) {
	subject.needsGRPC(t)
	health := healthpb.NewHealthClient(subject.conn)
	got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{})
	subject.implemented(t, err)
	if got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("the server is %v", got.GetStatus())
	}
	t.Run("knows the service", func(t *testing.T) {
		subject.needsStrict(t)
		if got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: serviceName}); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("knows no other", func(t *testing.T) {
		_, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "no.such.Service"})
		subject.failed(t, err, codes.NotFound)
	})
	t.Run("can be watched", func(t *testing.T) {
		for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{"": healthpb.HealthCheckResponse_SERVING,
			"no.such.Service": healthpb.HealthCheckResponse_SERVICE_UNKNOWN} {
			watch, err := health.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
				t.Errorf("service %q: %v, %v, want %v", service, got, err, want)
			}
		}
	})
}

// TestGRPCReflection tests the service with which grpcurl finds the other services.
// Older clients know it as v1alpha, with the same messages.
func TestGRPCReflection(t *testing.T) {
	subject.needsGRPC(t)
	for _, version := range []string{"v1", "v1alpha"} {
		t.Run(version, func(t *testing.T) {
			method := "/grpc.reflection." + version + ".ServerReflection/ServerReflectionInfo"
			stream, err := subject.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
			if err != nil {
				t.Fatal(err)
			}
			ask := func(r *reflectpb.ServerReflectionRequest) *reflectpb.ServerReflectionResponse {
				if err := stream.SendMsg(r); err != nil && !errors.Is(err, io.EOF) { // the answer has the reason
					t.Fatal(err)
				}
				got := new(reflectpb.ServerReflectionResponse)
				subject.implemented(t, stream.RecvMsg(got))
				return got
			}
			var names []string
			for _, s := range ask(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
				names = append(names, s.GetName())
			}
			checkServices(t, names)
			files := ask(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: serviceName}})
			checkDescriptor(t, files.GetFileDescriptorResponse().GetFileDescriptorProto())
			unknown := ask(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "no.Such"}})
			if codes.Code(unknown.GetErrorResponse().GetErrorCode()) != codes.NotFound {
				t.Errorf("an unknown symbol: %v, want NOT_FOUND", unknown)
			}
		})
	}
}

func checkServices(t *testing.T, names []string) {
	t.Helper()
	if !slices.Contains(names, serviceName) {
		t.Errorf("the services are %v, %s is not among them", names, serviceName)
	}
	if !slices.Contains(names, "grpc.health.v1.Health") && subject.strict {
		t.Errorf("the services are %v, grpc.health.v1.Health is not among them", names)
	}
}

// checkDescriptor finds the service in the files from reflection.
func checkDescriptor(t *testing.T, files [][]byte) {
	t.Helper()
	for _, content := range files {
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(content, &file); err != nil {
			t.Fatal(err)
		}
		for _, service := range file.GetService() {
			if file.GetPackage()+"."+service.GetName() == serviceName &&
				slices.ContainsFunc(service.GetMethod(), func(m *descriptorpb.MethodDescriptorProto) bool { return m.GetName() == "ModelInfer" }) {
				return
			}
		}
	}
	t.Errorf("none of %d files describes %s with ModelInfer", len(files), serviceName)
}
