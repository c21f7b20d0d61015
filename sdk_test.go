package mosel_test

import (
	"slices"
	"strings"
	"testing"
)

// TestSDKIsLight checks that a program which speaks REST alone contains nothing from
// outside the standard library but ours, gRPC least of all: neither the client nor
// anything that it imports, at whatever distance, needs more.
func TestSDKIsLight(t *testing.T) {
	h := readHouse(t)
	reached := []string{"client"}
	for at := 0; at < len(reached); at++ {
		for _, i := range h.imports(reached[at]) {
			if i.from.test {
				continue
			}
			first, _, _ := strings.Cut(i.path, "/")
			other, ours := i.room()
			switch {
			case !ours && strings.Contains(first, "."):
				t.Errorf("%s: the client must not need %s; gRPC is for client/clientgrpc", h.at(i.spec), i.path)
			case ours && !slices.Contains(reached, other):
				reached = append(reached, other)
			}
		}
	}
	if len(reached) < 3 {
		t.Errorf("only %q were looked at", reached)
	}
}
