package access

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// TLSFiles name what a server needs to speak TLS. The files are PEM.
type TLSFiles struct {
	Certificate string // the server's, followed by those between it and its authority
	Key         string
	// ClientCAs holds the authorities whose certificates clients must have; ""
	// asks clients for none. It is read once: authorities live for years.
	ClientCAs string
}

// pemBytesMax bounds a file: all the authorities that a browser knows have 200 KiB.
const pemBytesMax = 1 << 20

// TLS makes the configuration of a server that presents the certificate in the
// files, read anew when they change. NextProtos is the caller's to set. A new
// certificate that does not fit its key or has run out does not replace the old
// one, so the two files may be replaced one after the other.
func TLS(files TLSFiles, log *slog.Logger) (*tls.Config, error) {
	f, err := followPair(files, log)
	if err != nil {
		return nil, err
	}
	cfg := serverConfig(f)
	if files.ClientCAs == "" {
		return cfg, nil
	}
	authorities, err := readFile(files.ClientCAs, pemBytesMax)
	if err != nil {
		return nil, err
	}
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(authorities.text) {
		return nil, slo.E("read "+files.ClientCAs, slo.KindInvalid, "there is no certificate in it")
	}
	return cfg, nil
}

func serverConfig(pair *followed[tls.Certificate]) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current(), nil },
	}
}

// followPair reads a certificate and its key, and follows their files.
func followPair(files TLSFiles, log *slog.Logger) (*followed[tls.Certificate], error) {
	if files.Certificate == "" || files.Key == "" {
		return nil, slo.E("configure TLS", slo.KindInvalid, "a certificate and a key are needed: give both files")
	}
	f := &followed[tls.Certificate]{what: "certificate", names: []string{files.Certificate, files.Key}, bytesMax: pemBytesMax, log: log,
		make: func(read []content) (*tls.Certificate, error) { return pair(read[0], read[1], log) }}
	return f, f.start()
}

// pair makes a certificate with its key.
func pair(certificate, key content, log *slog.Logger) (*tls.Certificate, error) {
	op := "read " + certificate.name + " and " + key.name
	pair, err := tls.X509KeyPair(certificate.text, key.text)
	if err != nil {
		return nil, slo.E(op, slo.KindInvalid, "%w", err)
	}
	if until := pair.Leaf.NotAfter; time.Now().After(until) {
		return nil, slo.E(op, slo.KindInvalid, "the certificate was valid until %s", until.Format(time.RFC3339))
	}
	if warning := key.openness("with which they can pretend to be this server"); warning != "" {
		log.Warn(warning)
	}
	return &pair, nil
}
