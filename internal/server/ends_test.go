package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// atOnce makes runs take no time.
func atOnce(cfg *server.Config) { cfg.Runtime = fake.New(fake.Config{Instant: true}) }

// leavesNothing checks at the end of a test that none of its goroutines is left.
func leavesNothing(t *testing.T) {
	t.Helper()
	before := goruntime.NumGoroutine()
	t.Cleanup(func() {
		for late := time.Now().Add(10 * time.Second); goruntime.NumGoroutine() > before; goruntime.Gosched() {
			if time.Now().After(late) {
				var stacks [64 << 10]byte
				t.Fatalf("%d goroutines, %d before\n%s", goruntime.NumGoroutine(), before, stacks[:goruntime.Stack(stacks[:], true)])
			}
		}
	})
}

// TestPortInUseClosesTheOthers has each listener except the first find its port in use.
// The listeners that were opened before must be closed again.
func TestPortInUseClosesTheOthers(t *testing.T) {
	leavesNothing(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for flag, change := range map[string]func(*server.Config){
		"--grpc-addr":    func(cfg *server.Config) { cfg.GRPCAddr = taken.Addr().String() },
		"--metrics-addr": func(cfg *server.Config) { cfg.MetricsAddr = taken.Addr().String() },
	} {
		cfg := config()
		atOnce(&cfg)
		change(&cfg)
		s, err := server.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
		for _, addr := range []net.Addr{s.Addr(), s.GRPCAddr()} {
			if addr == nil {
				continue
			}
			l, err := net.Listen("tcp", addr.String())
			if err != nil {
				t.Errorf("%s: %v is still in use", flag, addr)
				continue
			}
			_ = l.Close()
		}
		select {
		case err := <-s.Failed():
			t.Errorf("%s: a listener that was closed is told as broken: %v", flag, err)
		default:
		}
	}
}

// warming returns a server whose models load until the gate is closed.
func warming(t *testing.T) (s *server.Server, gate chan struct{}, warm chan error) {
	t.Helper()
	cfg := config()
	atOnce(&cfg)
	cfg.Instances = 2 // the second waits
	gate, warm = make(chan struct{}), make(chan error, 1)
	cfg.Runtime = slowLoad{cfg.Runtime, gate}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { warm <- s.Warm(t.Context()) }()
	gate <- struct{}{} // the first instance may load: Warm is in progress
	return s, gate, warm
}

func TestShutdownWhileWarming(t *testing.T) {
	leavesNothing(t)
	s, gate, warm := warming(t)
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("a shutdown without time: %v", err)
	}
	if err := <-warm; slo.KindOf(err) != slo.KindUnavailable { // while loading hangs
		t.Errorf("Warm: %v", err)
	}
	close(gate)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("with time: %v", err)
	}
	if err := s.Warm(t.Context()); slo.KindOf(err) != slo.KindUnavailable {
		t.Errorf("Warm after the shutdown: %v", err)
	}
	for _, addr := range []net.Addr{s.Addr(), s.GRPCAddr(), s.MetricsAddr()} {
		if conn, err := net.Dial("tcp", addr.String()); err == nil {
			conn.Close()
			t.Errorf("still listening on %v", addr)
		}
	}
}

func TestShutdownTwice(t *testing.T) {
	leavesNothing(t)
	s := startServer(t, atOnce)
	ended := make(chan error)
	for range 2 { // at the same time
		go func() { ended <- s.Shutdown(context.Background()) }()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil { // and once more later
		t.Error(err)
	}
	select {
	case err := <-s.Failed():
		t.Errorf("a listener that was closed is told as broken: %v", err)
	default:
	}
}

// TestShutdownWithStreamsOpen has clients that keep streams open and send nothing.
// Shutdown waits for them as long as its context allows, and no longer.
func TestShutdownWithStreamsOpen(t *testing.T) {
	leavesNothing(t)
	s := startServer(t, atOnce)
	m := s.Served()[0].Model
	c, err := client.New("grpc://"+s.GRPCAddr().String(), client.Options{GRPC: clientgrpc.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var streams []*client.Stream
	for range 3 {
		stream, err := c.Stream(t.Context(), client.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if err := stream.Send(plainRequest(m)); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	for _, stream := range streams {
		if _, err := stream.Recv(); err == nil {
			t.Error("a stream goes on after the shutdown")
		}
	}
}

// plainRequest returns a request with an item of equal bytes for every input.
func plainRequest(m *modelpkg.Model) client.Request {
	r := client.Request{Model: m.Name}
	for _, in := range m.Inputs {
		shape, n := tensor.Shape{1}, in.DType.Size()
		for _, d := range in.Shape {
			d = max(d, 1)
			shape, n = append(shape, d), n*int(d)
		}
		r.Inputs = append(r.Inputs, tensor.Tensor{Name: in.Name, DType: in.DType, Shape: shape, Data: bytes.Repeat([]byte{1}, n)})
	}
	return r
}

// TestTLSAndTokens has both listeners behind TLS and tokens.
func TestTLSAndTokens(t *testing.T) {
	leavesNothing(t)
	files, authorities := certificate(t)
	tokens := filepath.Join(t.TempDir(), "tokens.yaml")
	entry := func(name, role, token string) string {
		sum := sha256.Sum256([]byte(token))
		return "  - {name: " + name + ", role: " + role + ", sha256: " + hex.EncodeToString(sum[:]) + "}\n"
	}
	const inferToken, adminToken = "token-of-one-who-asks", "token-of-one-who-rules"
	if err := os.WriteFile(tokens, []byte("tokens:\n"+entry("asks", "infer", inferToken)+entry("rules", "admin", adminToken)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(cfg *server.Config) {
		atOnce(cfg)
		cfg.TLS, cfg.TokensFile = files, tokens
	})
	m := s.Served()[0].Model
	for _, addr := range []string{"https://" + s.Addr().String(), "grpcs://" + s.GRPCAddr().String()} {
		for token, want := range map[string]struct{ infer, load int }{
			inferToken: {0, http.StatusForbidden},
			adminToken: {0, 0},
			"":         {http.StatusUnauthorized, http.StatusUnauthorized},
			"another":  {http.StatusUnauthorized, http.StatusUnauthorized},
		} {
			c, err := client.New(addr, client.Options{Token: token, GRPC: clientgrpc.Dial, TLS: &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Infer(t.Context(), plainRequest(m))
			answered(t, addr+" infer with token "+token, err, want.infer)
			answered(t, addr+" load with token "+token, c.Load(t.Context(), m.Name), want.load)
			c.Close()
		}
	}
	metricsFor(t, s, authorities, inferToken, adminToken)
	for _, addr := range []string{"http://" + s.Addr().String(), "grpc://" + s.GRPCAddr().String(), "https://" + s.Addr().String(), "grpcs://" + s.GRPCAddr().String()} {
		c, err := client.New(addr, client.Options{Token: inferToken, GRPC: clientgrpc.Dial}) // without TLS, or without the authority
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if _, err := c.Infer(ctx, plainRequest(m)); err == nil {
			t.Errorf("%s answers one who does not know its authority", addr)
		}
		cancel()
		c.Close()
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// metricsFor checks who gets which answers from the metrics' listener, over TLS.
func metricsFor(t *testing.T, s *server.Server, authorities *x509.CertPool, inferToken, adminToken string) {
	t.Helper()
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	for path, tokens := range map[string]map[string]int{
		"/metrics":         {inferToken: http.StatusOK, adminToken: http.StatusOK, "": http.StatusUnauthorized, "another": http.StatusUnauthorized},
		"/v2/health/live":  {"": http.StatusOK},
		"/v2/health/ready": {"": http.StatusOK},
		"/v2/models":       {inferToken: http.StatusNotFound},
	} {
		for token, want := range tokens {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.MetricsAddr().String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			answer, err := https.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != want {
				t.Errorf("%s of the metrics' listener with token %q: %d, %v, want %d", path, token, answer.StatusCode, err, want)
			}
			if want == http.StatusOK && path == "/metrics" && !strings.Contains(string(body), "\nmosel_tokens_stale 0\n") {
				t.Error("the metrics do not say whether the tokens are stale")
			}
		}
	}
}

// answered checks the status of an error; 0: no error.
func answered(t *testing.T, what string, err error, status int) {
	t.Helper()
	said, ok := errors.AsType[*client.Error](err)
	if err == nil && status == 0 || ok && said.Status == status {
		return
	}
	t.Errorf("%s: %v, want status %d", what, err, status)
}

// certificate writes a certificate for this machine, signed by its own authority.
func certificate(t *testing.T) (access.TLSFiles, *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	files := access.TLSFiles{Certificate: filepath.Join(t.TempDir(), "certificate.pem"), Key: filepath.Join(t.TempDir(), "key.pem")}
	for path, block := range map[string]*pem.Block{files.Certificate: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) {
		t.Fatal("the certificate is not taken as an authority")
	}
	return files, pool
}
