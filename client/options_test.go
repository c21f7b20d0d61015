package client_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/oip"
)

// secret is the certificate of a test, for servers and for clients.
func secret(t *testing.T) (server tls.Certificate, trusting *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	return s.TLS.Certificates[0], &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
}

func TestTLS(t *testing.T) {
	certificate, trusting := secret(t)
	f := &fake{t: t, infer: func(c call) (oip.Response, *client.Error) {
		if c.token != "Bearer x" {
			t.Errorf("token %q", c.token)
		}
		return echo(c)
	}}
	overHTTPS := httptest.NewTLSServer(f)
	defer overHTTPS.Close()
	for _, addr := range []string{
		overHTTPS.URL,
		"grpcs://" + listenGRPC(t, f, grpc.Creds(credentials.NewServerTLSFromCert(&certificate))),
	} {
		c, err := client.New(addr, client.Options{Token: "x", TLS: trusting, GRPC: clientgrpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Infer(t.Context(), numbered(1)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		c.Close()
		c, err = client.New(addr, client.Options{Token: "x", GRPC: clientgrpc.Dial}) // trusts the system's authorities alone
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Infer(t.Context(), numbered(1))
		if _, ok := errors.AsType[*client.Error](err); ok || err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: a server that nobody vouches for: %v", addr, err)
		}
		c.Close()
	}
}

func TestOptionsThatDoNotFit(t *testing.T) {
	for _, tt := range []struct {
		addr string
		opts client.Options
		want string // "": they fit
	}{
		{"example.com:8000", client.Options{Token: "x"}, "would be sent without TLS"},
		{"grpc://example.com:8001", client.Options{Token: "x"}, "would be sent without TLS"},
		{"http://192.0.2.1", client.Options{Token: "x"}, "would be sent without TLS"},
		{"http://localhost.example.com", client.Options{Token: "x"}, "would be sent without TLS"},
		{"grpc://example.com:8001", client.Options{Token: "x", AllowInsecureToken: true}, ""},
		{"https://example.com", client.Options{Token: "x"}, ""},
		{"grpcs://example.com", client.Options{Token: "x"}, ""},
		{"localhost:8000", client.Options{Token: "x"}, ""},
		{"grpc://127.0.0.2:8001", client.Options{Token: "x"}, ""},
		{"grpc://[::1]", client.Options{Token: "x"}, ""},
		{"https://example.com", client.Options{Token: "x\ny"}, "Options.Token has characters"},
		{"localhost:8000", client.Options{ClientKey: "ü"}, "Options.ClientKey \"ü\" has characters"},
		{"localhost:8000", client.Options{ClientKey: " x"}, "Options.ClientKey"},
		{"localhost:8000", client.Options{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "use https or grpcs"},
		{"grpc://localhost:8001", client.Options{Transport: http.DefaultTransport}, "Options.Transport is for REST"},
		{"https://localhost", client.Options{Transport: http.DefaultTransport, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, "it does not apply to Options.Transport"},
	} {
		tt.opts.GRPC = clientgrpc.Dial
		c, err := client.New(tt.addr, tt.opts)
		if tt.want == "" && err == nil {
			c.Close()
			continue
		}
		if tt.want == "" || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s with %+v: %v, want %q", tt.addr, tt.opts, err, tt.want)
		} else if tt.opts.Token != "" && strings.Contains(err.Error(), "x\\ny") {
			t.Errorf("the token is printed: %v", err)
		}
	}
}

// TestGRPCIsAnImportOfItsOwn: without it, an address of gRPC is an error that says
// what to do. With it, it is told what New knows.
func TestGRPCIsAnImportOfItsOwn(t *testing.T) {
	if _, err := client.New("grpc://host", client.Options{}); err == nil || !strings.Contains(err.Error(), "set Options.GRPC to clientgrpc.Dial") {
		t.Errorf("without Options.GRPC: %v", err)
	}
	for addr, want := range map[string]string{"grpc://host": "host:8001", "grpc://[::1]:9000": "[::1]:9000", "grpcs://host": "host:8001"} {
		reason := errors.New("no way")
		_, err := client.New(addr, client.Options{GRPC: func(target string, opts client.Options) (client.Wire, error) {
			if target != want || (opts.TLS != nil) != strings.HasPrefix(addr, "grpcs") || opts.ConnectionsMax == 0 || opts.ResponseBytesMax == 0 {
				t.Errorf("%s: asked for %s with %+v", addr, target, opts)
			}
			return nil, reason
		}})
		if !errors.Is(err, reason) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
