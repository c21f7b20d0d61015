package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/oip/inference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// address says where a server is and what to test.
type address struct {
	rest, grpc string
	models     []string // empty: the first that the server lists
	extensions []string // in addition to those in the metadata
	admin      bool
	strict     bool
	bodyMax    int64 // the server's bound on a body, 0: unknown
}

// target is the server under test, with its metadata.
type target struct {
	address
	host   string // of REST, host:port
	http   *http.Client
	conn   *grpc.ClientConn // nil: gRPC is not tested
	grpc   inference.GRPCInferenceServiceClient
	meta   serverMetadata
	models []*model
	mosel  bool
}

type serverMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// model is the metadata of a model.
type model struct {
	server     *target
	config     modelConfig
	Name       string            `json:"name"`
	Versions   []string          `json:"versions"`
	Platform   string            `json:"platform"`
	Inputs     []tensorSpec      `json:"inputs"`
	Outputs    []tensorSpec      `json:"outputs"`
	Properties map[string]string `json:"properties"`
}

// messageMax is the largest gRPC message that the suite reads; the protocol has no
// bound on answers.
const messageMax = 256 << 20

// clientTimeout ends a test if the server does not answer.
const clientTimeout = 30 * time.Second

// reach prepares a connection to a server without using it.
func reach(at address) (*target, error) {
	s := &target{address: at}
	where, err := url.Parse(at.rest)
	if err != nil || where.Scheme != "http" || where.Host == "" {
		return nil, fmt.Errorf("-addr %q is not of the form http://host:port", at.rest)
	}
	s.host, s.rest = where.Host, strings.TrimSuffix(at.rest, "/")
	s.http = &http.Client{
		Transport:     &http.Transport{DisableCompression: true}, // the tests set what is accepted
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       clientTimeout,
	}
	if at.grpc != "" {
		s.conn, err = grpc.NewClient("passthrough:///"+at.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageMax)))
		if err != nil {
			return nil, fmt.Errorf("-grpc %q: %w", at.grpc, err)
		}
		s.grpc = inference.NewGRPCInferenceServiceClient(s.conn)
	}
	return s, nil
}

// connect asks a server what it is and what it serves.
func connect(ctx context.Context, at address) (*target, error) {
	s, err := reach(at)
	if err != nil {
		return nil, err
	}
	if err := s.fetch(ctx, "GET", "/v2", &s.meta); err != nil {
		return nil, err
	}
	s.meta.Extensions = append(s.meta.Extensions, at.extensions...)
	names := at.models
	if len(names) == 0 {
		first, err := s.first(ctx)
		if err != nil {
			return nil, err
		}
		names = []string{first}
	}
	for _, name := range names {
		m := &model{server: s}
		if err := s.fetch(ctx, "GET", "/v2/models/"+url.PathEscape(name), m); err != nil {
			return nil, err
		}
		if len(m.Inputs) == 0 || len(m.Outputs) == 0 {
			return nil, fmt.Errorf("the metadata of model %s has no inputs or no outputs, so nothing can be sent: choose another with -model", name)
		}
		if s.lists("model_configuration") {
			if err := s.fetch(ctx, "GET", m.path("/config"), &m.config); err != nil {
				return nil, err
			}
		}
		s.models = append(s.models, m)
	}
	s.mosel = s.lists("mosel") || s.models[0].mosel()
	s.strict = s.strict || s.mosel
	return s, nil
}

// fetch requests a resource and reads its JSON.
func (s *target) fetch(ctx context.Context, method, path string, into any) error {
	body := io.Reader(http.NoBody)
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(ctx, method, s.rest+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: status %d: %.200s", method, path, answer.StatusCode, content)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s %s: %w: %.200s", method, path, err, content)
	}
	return nil
}

// first returns the first model that the server says is ready.
func (s *target) first(ctx context.Context) (string, error) {
	var index []indexEntry
	fromIndex := s.fetch(ctx, "POST", "/v2/repository/index", &index)
	for _, entry := range index {
		if entry.State == "READY" || entry.State == "" {
			return entry.Name, nil
		}
	}
	var list struct{ Models []string }
	fromList := s.fetch(ctx, "GET", "/v2/models", &list)
	if len(list.Models) > 0 {
		return list.Models[0], nil
	}
	return "", fmt.Errorf("no model is found: name one with -model: %w", errors.Join(fromIndex, fromList, errors.New("the lists are empty")))
}

func (s *target) close() {
	s.http.CloseIdleConnections()
	if s.conn != nil {
		_ = s.conn.Close() // the connection was only used to talk
	}
}

func (s *target) String() string {
	names := make([]string, len(s.models))
	for i, m := range s.models {
		names[i] = m.Name
	}
	overGRPC := "not tested (-grpc is not given)"
	if s.conn != nil {
		overGRPC = s.address.grpc
	}
	return fmt.Sprintf("%s %s at %s, gRPC %s, models %s, extensions %s", s.meta.Name, s.meta.Version, s.rest, overGRPC,
		strings.Join(names, " "), strings.Join(s.meta.Extensions, " "))
}

// lists reports whether the server's metadata lists an extension.
func (s *target) lists(extension string) bool { return slices.Contains(s.meta.Extensions, extension) }

// needs skips a test of an extension that the server does not list.
func (s *target) needs(t *testing.T, extension string) {
	t.Helper()
	if !s.lists(extension) {
		t.Skipf("the server's metadata lists the extensions %q, not %q", s.meta.Extensions, extension)
	}
}

// needsStrict skips a test of something that the protocol does not settle, but
// docs/protocol.md settles for mosel.
func (s *target) needsStrict(t *testing.T) {
	t.Helper()
	if !s.strict {
		t.Skipf("the protocol leaves this open: mosel's reading is demanded with -strict, or when the extensions list \"mosel\"; they are %q", s.meta.Extensions)
	}
}

// needsGRPC skips a test over gRPC if its address is unknown.
func (s *target) needsGRPC(t *testing.T) {
	t.Helper()
	if s.conn == nil {
		t.Skip("no gRPC address of the server is given: use -grpc host:port")
	}
}

// needsAdmin skips a test that changes what is served.
func (s *target) needsAdmin(t *testing.T) {
	t.Helper()
	if !s.admin {
		t.Skip("-admin is not given: what the server serves is left as it is")
	}
}

// needsBodyMax skips a test of the bound on bodies if it is unknown.
func (s *target) needsBodyMax(t *testing.T) {
	t.Helper()
	if s.bodyMax == 0 {
		t.Skip("-body-max does not say how large a body may be")
	}
}

// needsMosel skips a test of objectives, which only mosel has.
func (m *model) needsMosel(t *testing.T) {
	t.Helper()
	if !m.mosel() {
		t.Skipf("the properties of model %s have no modalities and variants, and the server's extensions %q do not list \"mosel\"",
			m.Name, m.server.meta.Extensions)
	}
}

// mosel reports whether the model's metadata is that of a mosel server.
func (m *model) mosel() bool {
	return m.Properties["modalities"] != "" && m.Properties["variants"] != ""
}

// eachModel runs a test for every model under test.
func eachModel(t *testing.T, test func(t *testing.T, m *model)) {
	t.Helper()
	for _, m := range subject.models {
		t.Run(m.Name, func(t *testing.T) { test(t, m) })
	}
}

// path returns the path of a resource of the model.
func (m *model) path(rest string) string { return "/v2/models/" + url.PathEscape(m.Name) + rest }

// batched reports whether the model accepts any number of items at a time.
func (m *model) batched() bool {
	return !slices.ContainsFunc(m.Inputs, func(in tensorSpec) bool { return len(in.Shape) == 0 || in.Shape[0] != -1 })
}

// batchMax returns the largest batch that the model's configuration allows.
func (m *model) batchMax() int64 {
	if m.config.MaxBatchSize < 1 {
		return dynamicSize // it does not say
	}
	return m.config.MaxBatchSize
}

// needsBatches skips a test that sends several items.
func (m *model) needsBatches(t *testing.T) {
	t.Helper()
	if !m.batched() {
		t.Skipf("the metadata of model %s gives an input whose first dimension is fixed: %v", m.Name, m.Inputs)
	}
	if m.batchMax() < 3 && !m.server.strict {
		t.Skipf("the configuration of model %s has max_batch_size %d", m.Name, m.config.MaxBatchSize)
	}
}

// needsKind skips a test about elements that none of the model's inputs has, and
// returns the first input that has them.
func (m *model) needsKind(t *testing.T, kinds ...string) tensorSpec {
	t.Helper()
	for _, in := range m.Inputs {
		if slices.Contains(kinds, kind(in.Datatype)) && count(fill(in, 1).Shape) > 0 {
			return in
		}
	}
	t.Skipf("the metadata of model %s gives no input of the kind %v: %v", m.Name, kinds, m.Inputs)
	return tensorSpec{}
}

// needsJSON skips a test in JSON if the model cannot be used in JSON.
func (m *model) needsJSON(t *testing.T) {
	t.Helper()
	if m.halves(m.Inputs) || len(m.jsonOutputs()) == 0 {
		t.Skipf("the metadata of model %s gives a tensor of FP16 or BF16, which have no form in JSON: %v, %v", m.Name, m.Inputs, m.Outputs)
	}
}

func (*model) halves(specs []tensorSpec) bool {
	return slices.ContainsFunc(specs, func(spec tensorSpec) bool { return kind(spec.Datatype) == "half" })
}

// jsonOutputs returns the outputs that have a form in JSON.
func (m *model) jsonOutputs() []string {
	var names []string
	for _, out := range m.Outputs {
		if kind(out.Datatype) != "half" {
			names = append(names, out.Name)
		}
	}
	return names
}

// values returns tensors for all inputs.
func (m *model) values(items int64) []value {
	var list []value
	for _, in := range m.Inputs {
		list = append(list, fill(in, items))
	}
	return list
}

// dialTCP opens a connection to REST, for tests in which every byte counts.
func (s *target) dialTCP(t *testing.T) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: clientTimeout}).DialContext(t.Context(), "tcp", s.host)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // some tests close it themselves
	return conn
}
