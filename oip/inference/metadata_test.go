package inference

import (
	"reflect"
	"testing"

	"github.com/mosel-serve/mosel/oip"
)

func TestMetadataRoundTrips(t *testing.T) {
	server := oip.ServerMetadata{Name: "mosel", Version: "1", Extensions: []string{"binary_tensor_data"}}
	var gotServer ServerMetadataResponse
	travel(t, EncodeServerMetadata(server), &gotServer)
	if got := DecodeServerMetadata(&gotServer); !reflect.DeepEqual(got, server) {
		t.Errorf("got %+v, want %+v", got, server)
	}
	model := oip.ModelMetadata{Name: "digits", Versions: []string{"1", "2"}, Platform: "onnx",
		Inputs:     []oip.TensorMetadata{{Name: "image", Datatype: "UINT8", Shape: []int64{-1, 28, 28}}, {Name: "text", Datatype: "BYTES", Shape: []int64{-1}}},
		Outputs:    []oip.TensorMetadata{{Name: "probabilities", Datatype: "FP32", Shape: []int64{-1, 10}}},
		Properties: map[string]string{"modalities": "image,text"}}
	var gotModel ModelMetadataResponse
	travel(t, EncodeModelMetadata(model), &gotModel)
	if got := DecodeModelMetadata(&gotModel); !reflect.DeepEqual(got, model) {
		t.Errorf("got %+v, want %+v", got, model)
	}
	index := []oip.RepositoryEntry{{Name: "digits", Version: "1", State: "READY"}, {Name: "other", State: "UNAVAILABLE", Reason: "broken"}}
	var gotIndex RepositoryIndexResponse
	travel(t, EncodeRepositoryIndex(index), &gotIndex)
	if got := DecodeRepositoryIndex(&gotIndex); !reflect.DeepEqual(got, index) {
		t.Errorf("got %+v, want %+v", got, index)
	}
}
