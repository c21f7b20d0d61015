package inference

import "github.com/mosel-serve/mosel/oip"

// EncodeServerMetadata writes the description of a server.
func EncodeServerMetadata(s oip.ServerMetadata) *ServerMetadataResponse {
	return &ServerMetadataResponse{Name: s.Name, Version: s.Version, Extensions: s.Extensions}
}

// DecodeServerMetadata reads the description of a server.
func DecodeServerMetadata(m *ServerMetadataResponse) oip.ServerMetadata {
	return oip.ServerMetadata{Name: m.GetName(), Version: m.GetVersion(), Extensions: m.GetExtensions()}
}

// EncodeModelMetadata writes the description of a model.
func EncodeModelMetadata(d oip.ModelMetadata) *ModelMetadataResponse {
	return &ModelMetadataResponse{Name: d.Name, Versions: d.Versions, Platform: d.Platform, Properties: d.Properties,
		Inputs: encodeSpecs(d.Inputs), Outputs: encodeSpecs(d.Outputs)}
}

// DecodeModelMetadata reads the description of a model.
func DecodeModelMetadata(m *ModelMetadataResponse) oip.ModelMetadata {
	return oip.ModelMetadata{Name: m.GetName(), Versions: m.GetVersions(), Platform: m.GetPlatform(), Properties: m.GetProperties(),
		Inputs: decodeSpecs(m.GetInputs()), Outputs: decodeSpecs(m.GetOutputs())}
}

func encodeSpecs(specs []oip.TensorMetadata) []*ModelMetadataResponse_TensorMetadata {
	list := make([]*ModelMetadataResponse_TensorMetadata, 0, len(specs))
	for _, s := range specs {
		list = append(list, &ModelMetadataResponse_TensorMetadata{Name: s.Name, Datatype: s.Datatype, Shape: s.Shape})
	}
	return list
}

func decodeSpecs(list []*ModelMetadataResponse_TensorMetadata) []oip.TensorMetadata {
	specs := make([]oip.TensorMetadata, 0, len(list))
	for _, m := range list {
		specs = append(specs, oip.TensorMetadata{Name: m.GetName(), Datatype: m.GetDatatype(), Shape: m.GetShape()})
	}
	return specs
}

// EncodeRepositoryIndex writes the list of models.
func EncodeRepositoryIndex(entries []oip.RepositoryEntry) *RepositoryIndexResponse {
	m := &RepositoryIndexResponse{Models: make([]*RepositoryIndexResponse_ModelIndex, 0, len(entries))}
	for _, e := range entries {
		m.Models = append(m.Models, &RepositoryIndexResponse_ModelIndex{Name: e.Name, Version: e.Version, State: e.State, Reason: e.Reason})
	}
	return m
}

// DecodeRepositoryIndex reads the list of models.
func DecodeRepositoryIndex(m *RepositoryIndexResponse) []oip.RepositoryEntry {
	entries := make([]oip.RepositoryEntry, 0, len(m.GetModels()))
	for _, e := range m.GetModels() {
		entries = append(entries, oip.RepositoryEntry{Name: e.GetName(), Version: e.GetVersion(), State: e.GetState(), Reason: e.GetReason()})
	}
	return entries
}
