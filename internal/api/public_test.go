package api

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// TestInternalErrorsHidePaths checks that clients see internal errors without paths of
// this machine or of the runtime's sources, and without panics.
func TestInternalErrorsHidePaths(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{slo.E("run digits", slo.KindInternal, "Non-zero status code returned while running Div node. Name:'/encoder/layer.0/Div' Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/math/element_wise_ops.cc:540 onnxruntime::Div divide by zero"),
			"run digits: Non-zero status code returned while running Div node. Name:'/encoder/layer.0/Div' Status Message: element_wise_ops.cc:540 onnxruntime::Div divide by zero"},
		{slo.E("", slo.KindInternal, `C:\build\src\core\tensor.h:12 bad`), "tensor.h:12 bad"},
		{slo.E("", slo.KindInternal, "cannot open /home/user/.cache/mosel/libonnxruntime.so.1.27: no"), "cannot open libonnxruntime.so.1.27: no"},
		{slo.E("load", slo.KindInternal, "%w", &fs.PathError{Op: "open", Path: "/srv/secret place/models/x", Err: os.ErrPermission}), "load: open x: permission denied"},
		{slo.E("infer digits", slo.KindInternal, "the runtime failed: %w", errors.New("the runtime panicked: runtime error: index out of range [3]\ngoroutine 7 [running]:\nmain.go:1")),
			"infer digits: the runtime failed: the runtime panicked; the server's log has the details"},
		{fmt.Errorf("no kind: %w", errors.New("ratio 3/4 of a/b")), "no kind: ratio 3/4 of a/b"},
	} {
		f := failureOf(tt.err)
		if f.status != 500 || f.body.Error != tt.want {
			t.Errorf("%v\n is told as %d %q\nwant %q", tt.err, f.status, f.body.Error, tt.want)
		}
	}
	// Errors about a client's request are repeated unchanged.
	if f := failureOf(slo.E("", slo.KindInvalid, "there is no model a/b.onnx")); !strings.Contains(f.body.Error, "a/b.onnx") {
		t.Errorf("a client's own words are changed: %q", f.body.Error)
	}
}
