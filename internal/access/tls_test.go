package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// authority signs certificates, or itself.
type authority struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	a := authority{T: t}
	cert, key := a.issue(name, time.Hour)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return authority{t, pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)}
}

// issue makes a certificate for localhost that is valid for that long from now. It is
// self-signed if there is no authority yet.
func (a authority) issue(name string, valid time.Duration) (cert, key string) {
	a.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(valid), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	parent, signer := a.certificate, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, template.KeyUsage|x509.KeyUsageCertSign
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), signer)
	if err != nil {
		a.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

// listenTLS answers every connection with a greeting.
func listenTLS(t *testing.T, cfg *tls.Config) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello") // if the handshake fails, the client reports it
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}

// greet connects and returns the name of the server's certificate.
func greet(addr string, cfg *tls.Config) (string, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, cfg)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); err != nil || string(text) != "hello" {
		return "", err // in TLS 1.3 the server refuses after the client's side of the handshake
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestTLSHandshakeAndRotation(t *testing.T) {
	ca, dir := newAuthority(t, "an authority"), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert, key := ca.issue("first", time.Hour)
	write(t, certFile, cert)
	write(t, keyFile, key)
	var logged bytes.Buffer
	var c clock
	f, err := watchPair(TLSFiles{Certificate: certFile, Key: keyFile}, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c.drive(&f.began, &f.clock)
	cfg := serverConfig(f)
	if cfg.NextProtos != nil {
		t.Errorf("NextProtos %q are the caller's to set", cfg.NextProtos)
	}
	addr := listenTLS(t, cfg)
	client := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	check := func(when, name, log string) {
		t.Helper()
		if got, err := greet(addr, client); err != nil || got != name {
			t.Errorf("%s: certificate %q, %v; want %q", when, got, err, name)
		}
		if text := logged.String(); strings.Count(text, "\n") > 1 || !strings.Contains(text, log) || (log == "") != (text == "") {
			t.Errorf("%s: the log says %q, want one line with %q", when, text, log)
		}
		logged.Reset()
	}
	check("at the start", "first", "")

	// One file after the other, as they are replaced by hand.
	cert, key = ca.issue("second", time.Hour)
	write(t, certFile, cert)
	c.pass(lookEvery)
	check("with a certificate that does not fit the key yet", "first", "private key does not match")
	c.pass(lookEvery)
	check("still", "first", "")
	write(t, keyFile, key)
	check("within the second", "first", "")
	c.pass(lookEvery)
	check("with its key", "second", "read again after a change")

	cert, key = ca.issue("third", -time.Minute)
	write(t, certFile, cert)
	write(t, keyFile, key)
	c.pass(lookEvery)
	check("with one that has run out", "second", "was valid until")
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	c.pass(lookEvery)
	check("without one", "second", "no such file")
}

func TestTLSVersions(t *testing.T) {
	ca := newAuthority(t, "an authority")
	addr := listenTLS(t, ca.serve(""))
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, err := greet(addr, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", MinVersion: version, MaxVersion: version})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// serve returns the configuration of a server with a certificate of the authority.
func (a authority) serve(clientCAs string) *tls.Config {
	a.Helper()
	dir := a.TempDir()
	cert, key := a.issue("server", time.Hour)
	files := TLSFiles{Certificate: write(a, filepath.Join(dir, "tls.crt"), cert), Key: write(a, filepath.Join(dir, "tls.key"), key)}
	if clientCAs != "" {
		files.ClientCAs = write(a, filepath.Join(dir, "ca.crt"), clientCAs)
	}
	cfg, err := TLS(files, discard())
	if err != nil {
		a.Fatal(err)
	}
	return cfg
}

func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t, "an authority"), newAuthority(t, "another")
	addr := listenTLS(t, ca.serve(ca.pem()))
	for name, signer := range map[string]*authority{"none": nil, "ours": &ca, "another's": &other} {
		client := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
		if signer != nil {
			cert, key := signer.issue("client", time.Hour)
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		if server, err := greet(addr, client); (server == "server") != (signer == &ca) {
			t.Errorf("%s: %q, %v", name, server, err)
		}
	}
}

func TestTLSFilesWithMistakes(t *testing.T) {
	ca, dir := newAuthority(t, "an authority"), t.TempDir()
	name := func(name, text string) string { return write(t, filepath.Join(dir, name), text) }
	goodCert, goodKey := ca.issue("a", time.Hour)
	_, otherKey := ca.issue("b", time.Hour)
	oldCert, oldKey := ca.issue("c", -time.Hour)
	cert, key, open := name("good.crt", goodCert), name("good.key", goodKey), name("open.key", goodKey)
	if err := os.Chmod(open, 0o622); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		files TLSFiles
		kind  slo.Kind
		want  string
	}{
		{"no key", TLSFiles{Certificate: cert}, slo.KindInvalid, "give both"},
		{"no certificate", TLSFiles{Key: key}, slo.KindInvalid, "give both"},
		{"not there", TLSFiles{Certificate: cert, Key: dir + "/none"}, slo.KindNotFound, "none"},
		{"another's key", TLSFiles{Certificate: cert, Key: name("other.key", otherKey)}, slo.KindInvalid, "does not match"},
		{"swapped", TLSFiles{Certificate: key, Key: cert}, slo.KindInvalid, "may have been switched"},
		{"run out", TLSFiles{Certificate: name("old.crt", oldCert), Key: name("old.key", oldKey)}, slo.KindInvalid, "was valid until"},
		{"a key that all may write", TLSFiles{Certificate: cert, Key: open}, slo.KindInvalid, "chmod go-w"},
		{"huge", TLSFiles{Certificate: name("huge.crt", strings.Repeat("#", pemBytesMax+1)), Key: key}, slo.KindTooLarge, "more than 1048576 bytes"},
		{"no authorities", TLSFiles{Certificate: cert, Key: key, ClientCAs: name("ca.crt", "hello")}, slo.KindInvalid, "no certificate in PEM form"},
		{"authorities not there", TLSFiles{Certificate: cert, Key: key, ClientCAs: dir + "/none"}, slo.KindNotFound, "none"},
	} {
		if _, err := TLS(tt.files, discard()); err == nil || slo.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v of kind %v, want %v saying %q", tt.name, err, slo.KindOf(err), tt.kind, tt.want)
		}
	}
	var logged bytes.Buffer
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := TLS(TLSFiles{Certificate: cert, Key: key}, slog.New(slog.NewTextHandler(&logged, nil))); err != nil || !strings.Contains(logged.String(), "every user of this machine may read "+key) {
		t.Errorf("a key that all may read: %v, logged %q", err, logged.String())
	}
}
