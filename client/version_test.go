package client_test

import (
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
)

func TestVersionMetadata(t *testing.T) {
	f := &fake{ready: true, model: oip.ModelMetadata{Name: "digits", Versions: []string{"1", "2"}, Inputs: []oip.TensorMetadata{}, Outputs: []oip.TensorMetadata{}}}
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		if m, err := c.VersionMetadata(t.Context(), "digits", "2"); err != nil || !slices.Equal(m.Versions, []string{"2"}) {
			t.Errorf("metadata of a version %+v, %v", m, err)
		}
	})
}
