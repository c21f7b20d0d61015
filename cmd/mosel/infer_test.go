package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// answering is a server of a model "m" with a picture, a caption and raw
// numbers, that answers inference with the status and body given, or as a
// classifier if the status is 0.
func answering(t *testing.T, status int, body string) (addr string, seen *oip.Request) {
	t.Helper()
	seen = &oip.Request{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/models/m", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(oip.ModelMetadata{Name: "m", Inputs: []oip.TensorMetadata{
			{Name: "photo", Datatype: "UINT8", Shape: []int64{-1, 2, 2}}, {Name: "caption", Datatype: "UINT8", Shape: []int64{-1, 4}},
			{Name: "raw", Datatype: "INT16", Shape: []int64{-1, 2}}},
			Properties: map[string]string{"media.photo": "image", "media.caption": "text", "labels": "cat,dog,eel,fox"}})
	})
	mux.HandleFunc("POST /v2/repository/index", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]oip.RepositoryEntry{{Name: "m"}, {Name: "k"}})
	})
	mux.HandleFunc("POST /v2/models/m/infer", func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		n, _ := strconv.Atoi(r.Header.Get(oip.HeaderLength))
		if err := seen.Decode(sent, n, oip.DefaultLimits()); err != nil {
			t.Error(err)
		}
		if status != 0 {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return
		}
		answer := oip.Response{ModelName: "m", ModelVersion: "3", Parameters: oip.Parameters{{Name: "variant", Value: oip.String("photo")},
			{Name: "modalities", Value: oip.String("photo,caption")}, {Name: "expected_accuracy", Value: oip.Float(0.9712)},
			{Name: "queue_us", Value: oip.Int(1500)}, {Name: "compute_us", Value: oip.Int(2500)},
			{Name: "min_accuracy", Value: oip.Float(0.97)}, {Name: "deadline_ms", Value: oip.Float(49.87)}},
			Outputs: []tensor.Tensor{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{1, 4}, Data: floats(0.05, 0.65, 0.1, 0.2)}}}
		text, n, _ := answer.Append(nil, []oip.Form{oip.Binary})
		w.Header().Set(oip.HeaderLength, strconv.Itoa(n))
		_, _ = w.Write(text)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":"no such model here"}`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, seen
}

// command runs mosel with arguments and returns what it printed.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetArgs(joinJSON(args))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func picture(t *testing.T) []byte {
	t.Helper()
	p := image.NewGray(image.Rect(0, 0, 2, 2))
	p.Pix = []byte{1, 2, 3, 4}
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestInfer(t *testing.T) {
	addr, seen := answering(t, 0, "")
	photo := file(t, "p.png", picture(t))
	out, err := command(t, "infer", "m", "--addr", addr, "--image", photo, "--text", "hi", "--input", "raw=@"+file(t, "raw", []byte{1, 0, 2, 0}),
		"--min-accuracy", "0.97", "--deadline", "50ms", "--late", "run", "--modalities", "photo,caption")
	if err != nil {
		t.Fatal(err)
	}
	for _, say := range []string{"dog   65.0 %\nfox   20.0 %\neel   10.0 %\n", "ran       photo (photo, caption)", "0.9712 expected, at least 0.97 asked for",
		"1.5 queue, 2.5 compute; deadline 49.9 ms"} {
		if !strings.Contains(out, say) {
			t.Errorf("it does not say %q:\n%s", say, out)
		}
	}
	for i, want := range []string{"\x01\x02\x03\x04", "hi\x00\x00", "\x01\x00\x02\x00"} {
		if got := string(seen.Inputs[i].Data); got != want {
			t.Errorf("input %s is %q, want %q", seen.Inputs[i].Name, got, want)
		}
	}
	for name, want := range map[string]string{"min_accuracy": "0.97", "late": "run", "modalities": "photo,caption"} {
		if got, _ := seen.Parameters.Get(name); got.Text() != want {
			t.Errorf("parameter %s is %v, want %s", name, got, want)
		}
	}
	deadline, _ := seen.Parameters.Get("deadline_ms")
	if ms, err := deadline.Float64(); err != nil || ms <= 0 || ms > 50 { // what is left when it is sent
		t.Errorf("deadline_ms is %v, want 50 at most", deadline)
	}
}

func TestInferJSON(t *testing.T) {
	addr, _ := answering(t, 0, "")
	out, err := command(t, "infer", "m", "--addr", addr, "--input", "caption=@"+file(t, "c.txt", []byte("cat")), "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"model", "version", "label", "confidence", "top", "variant", "modalities", "expected_accuracy",
		"queue_ms", "compute_ms", "total_ms", "late", "min_accuracy", "deadline_ms"} {
		if _, ok := got[field]; !ok {
			t.Errorf("no field %q in %s", field, out)
		}
	}
	if got["label"] != "dog" || got["version"] != "3" || got["queue_ms"] != 1.5 {
		t.Errorf("%s", out)
	}
}

func TestInferMistakes(t *testing.T) {
	addr, _ := answering(t, 0, "")
	photo := file(t, "p.png", picture(t))
	cases := []struct {
		args  []string
		usage bool
		say   string
	}{
		{[]string{}, true, "name one model"},
		{[]string{"m"}, true, "give at least one of the model's inputs: photo, caption, raw"},
		{[]string{"m", "--image", "nope.png"}, false, "nope.png: no such file"},
		{[]string{"m", "--audio", photo}, true, "the model has no such input"},
		{[]string{"m", "--image", file(t, "x.png", []byte("x"))}, false, "not a PNG, JPEG or WebP"},
		{[]string{"m", "--input", "photo"}, true, "not NAME=VALUE"},
		{[]string{"m", "--input", "foto=" + photo}, true, `no input "foto"`},
		{[]string{"m", "--image", photo, "--input", "photo=" + photo}, true, "given more than once"},
		{[]string{"m", "--input", "raw=" + photo}, false, "needs 2 elements"},
		{[]string{"m", "--text", "a", "--min-accuracy", "1.5"}, true, "between 0 and 1"},
		{[]string{"m", "--text", "a", "--min-accuracy", "97"}, true, "97: an accuracy is between 0 and 1; did you mean 0.97?"},
		{[]string{"m", "--text", "a", "--min-accuracy", "0x1p-3"}, true, "a number between 0 and 1"},
		{[]string{"m", "--text", "a", "--min-accuracy", "nan"}, true, "a number between 0 and 1"},
		{[]string{"m", "--text", "a", "--deadline", "-1s"}, true, "negative"},
		{[]string{"m", "--text", "a", "--late", "maybe"}, true, "neither drop nor run"},
		{[]string{"m", "--text", "a", "--colour", "red"}, true, "unknown flag"},
		{[]string{"q", "--text", "a"}, false, "no such model here\nThe server at " + addr + " serves: k, m"},
		{[]string{"m", "--text", "a", "--addr", "ftp://x"}, true, "neither host:port"},
	}
	for _, c := range cases {
		_, err := command(t, append([]string{"infer", "--addr", addr}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%q: %v, want %q", c.args, err, c.say)
		}
		if errors.As(err, new(usageError)) != c.usage {
			t.Errorf("%q: a mistake on the command line is %v, want %v: %v", c.args, !c.usage, c.usage, err)
		}
	}
}

func TestInferRefusals(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		say    string
	}{
		{422, `{"error":"impossible","best_accuracy":0.78125}`, "impossible\nThe highest floor for these inputs: --min-accuracy 0.7812"},
		{429, `{"error":"busy","retry_after_ms":250}`, "busy\nTry again in 250ms"},
		{504, `{"error":"too late"}`, "too late\nGive the request more time"},
		{500, `{"error":"boom"}`, "boom"},
	} {
		addr, _ := answering(t, c.status, c.body)
		if _, err := command(t, "infer", "m", "--addr", addr, "--text", "a"); err == nil || !strings.HasPrefix(err.Error(), c.say) {
			t.Errorf("%d: %v, want %q", c.status, err, c.say)
		}
	}
	addr, _ := answering(t, 0, "")
	server := httptest.NewServer(nil)
	server.Close()
	_, err := command(t, "infer", "m", "--addr", server.URL, "--text", "a")
	if err == nil || !strings.Contains(err.Error(), "no server at "+server.URL) || !strings.Contains(err.Error(), "mosel serve") {
		t.Errorf("no server (another is at %s): %v", addr, err)
	}
}
