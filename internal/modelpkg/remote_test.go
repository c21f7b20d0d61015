package modelpkg

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// withRemote is the tests' package with the second variant on another server.
func withRemote(rest string) string {
	return strings.Replace(goodYAML, "path: onnx/all.onnx, precision: int8", rest, 1)
}

func TestRemote(t *testing.T) {
	dir := writePackage(t)
	write(t, dir, "tls/ca.pem", []byte("certificates"))
	if err := os.Remove(filepath.Join(dir, "onnx", "all.onnx")); err != nil {
		t.Fatal(err)
	}
	for rest, want := range map[string]Remote{
		"remote: grpc://gpu:8001/fusion":             {Server: "grpc://gpu:8001", Model: "fusion", Slots: 4, Timeout: 10 * time.Second},
		"remote: http://gpu/fusion/2, timeout: 50ms": {Server: "http://gpu", Model: "fusion", Version: "2", Slots: 4, Timeout: 50 * time.Millisecond},
		"remote: 'http://[::1]:80/a%2Fb', slots: 1":  {Server: "http://[::1]:80", Model: "a", Version: "b", Slots: 1, Timeout: 10 * time.Second},
		"remote: grpcs://gpu:8001/fusion/2, slots: 16, timeout: 1m, token_env: MOSEL_TOKEN_GPU, ca: tls/ca.pem": {
			Server: "grpcs://gpu:8001", Model: "fusion", Version: "2", Slots: 16, Timeout: time.Minute, TokenEnv: "MOSEL_TOKEN_GPU", CA: "tls/ca.pem"},
		"remote: http://127.0.0.1/fusion, token_env: MOSEL_TOKEN_T": {Server: "http://127.0.0.1", Model: "fusion", Slots: 4, Timeout: 10 * time.Second, TokenEnv: "MOSEL_TOKEN_T"},
	} {
		write(t, dir, FileName, []byte(withRemote(rest)))
		m, err := Load(dir)
		if err != nil {
			t.Errorf("%s: %v", rest, err)
			continue
		}
		if v := m.Variants[1]; v.Path != "" || !reflect.DeepEqual(*v.Remote, want) {
			t.Errorf("%s: got %+v, want %+v", rest, v.Remote, want)
		}
		_, covered := m.Files["tls/ca.pem"]
		if files := slices.Sorted(maps.Keys(m.Files)); covered != (want.CA != "") || slices.Contains(files, "onnx/all.onnx") {
			t.Errorf("%s: the digest covers %q", rest, files)
		}
	}
}

// remoteProblems are mistakes in where a variant runs.
var remoteProblems = []struct {
	rest   string
	schema bool // the schema sees it too
	want   []string
}{
	{"precision: int8", true, []string{`19:5: a variant needs one of path (of its graph), stages and remote`}},
	{"path: onnx/all.onnx, remote: grpc://gpu/m", true, []string{`19:5: a variant needs one of path (of its graph), stages and remote`}},
	{"path: onnx/all.onnx, slots: 3", true, []string{`19:73: slots is for a variant with remote`}},
	{"remote: gpu:8001/m", true, []string{`19:53: remote is of the scheme "gpu"; it must be grpc://HOST:PORT/MODEL or grpc://HOST:PORT/MODEL/VERSION, or the same with grpcs, http or https`}},
	{"remote: grpc://gpu:8001", true, []string{`19:53: remote is of the path ""; it must be`}},
	{"remote: grpc://gpu:8001/a/b/c", true, []string{`19:53: remote is of the path "/a/b/c"; it must be`}},
	{"remote: grpc:///m", true, []string{`19:53: remote is without a host; it must be`}},
	{"remote: grpc://gpu:0/m", false, []string{`19:53: remote is of port 0; it must be`}},
	{"remote: 'http://gpu/m?x=1'", true, []string{`19:53: remote is an address with more than host, port and path; it must be`}},
	{"remote: http://me:secret@gpu/m", true, []string{`19:53: remote is an address with a user: credentials do not belong into a package, see token_env; it must be`}},
	{"remote: grpc://gpu/m, slots: 0", true, []string{`19:74: slots is 0; it must be between 1 and 256`}},
	{"remote: grpc://gpu/m, timeout: 0s", false, []string{`19:76: timeout must be a duration from 1ms to 1h, such as 500ms or 5s, not "0s"`}},
	{"remote: grpc://gpu/m, timeout: soon", false, []string{`19:76: timeout must be a duration from 1ms to 1h, such as 500ms or 5s, not "soon"`}},
	{"remote: grpcs://gpu/m, token_env: a-b", true, []string{`19:79: token_env must be the name of an environment variable that begins with MOSEL_TOKEN_, such as MOSEL_TOKEN_GPU; the token itself does not belong into a package`}},
	{"remote: grpcs://gpu/m, token_env: AWS_SECRET_ACCESS_KEY", true, []string{`19:79: token_env must be the name of an environment variable that begins with MOSEL_TOKEN_`}},
	{"remote: grpc://gpu/m, token_env: MOSEL_TOKEN_T", false, []string{`19:78: a token would travel in plain text to another machine: use grpcs or https`}},
	{"remote: grpc://gpu/m, ca: ca.pem", false, []string{`19:71: ca is for a remote of grpcs or https; nothing is checked of one of plain text`}},
	{"remote: grpcs://gpu/m, ca: ../ca.pem", true, []string{`19:72: the path "../ca.pem" has ".."; it must stay inside the package`}},
	{"remote: grpcs://gpu/m, ca: ca.pem", false, []string{`19:72: variant all: ca.pem: no such file or directory`}},
	{"remote: [a]", true, []string{`19:53: a variant's remote must be a text, not a list`}},
}

func TestRemoteProblems(t *testing.T) {
	schema := loadSchema(t)
	for _, c := range remoteProblems {
		t.Run(c.rest, func(t *testing.T) {
			dir := writePackage(t)
			write(t, dir, FileName, []byte(withRemote(c.rest)))
			got := lines(dir, Check(dir))
			if len(got) != len(c.want) {
				t.Fatalf("got\n%s", strings.Join(got, "\n"))
			}
			for i, want := range c.want {
				if !strings.HasPrefix(got[i], want) || strings.Contains(got[i], "secret") {
					t.Errorf("got\n%s\nwant\n%s", got[i], want)
				}
			}
			var document any
			if err := yaml.Unmarshal([]byte(withRemote(c.rest)), &document); err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(document); (err != nil) != c.schema {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}
