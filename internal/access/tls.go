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
	Certificate string // the server's, then those between it and its authority
	Key         string
	// ClientCAs has the authorities that must have signed clients' certificates; ""
	// asks clients for none. It is read once, because authorities are valid for years.
	ClientCAs string
}

// pemBytesMax bounds a file. All authorities that a browser trusts take 200 KiB.
const pemBytesMax = 1 << 20

// TLS returns the configuration of a server with the certificate in the files, and
// reads them again when they change. The caller sets NextProtos. A new certificate that
// has expired or does not match its key does not replace the old one, so the two files
// may be replaced one after the other.
func TLS(files TLSFiles, log *slog.Logger) (*tls.Config, error) {
	f, err := watchPair(files, log)
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
		return nil, slo.E("read "+files.ClientCAs, slo.KindInvalid, "the file holds no certificate in PEM form")
	}
	return cfg, nil
}

func serverConfig(pair *watchedFile[tls.Certificate]) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current(), nil },
	}
}

// watchPair reads a certificate and its key, and watches their files.
func watchPair(files TLSFiles, log *slog.Logger) (*watchedFile[tls.Certificate], error) {
	if files.Certificate == "" || files.Key == "" {
		return nil, slo.E("configure TLS", slo.KindInvalid, "TLS needs a certificate and a key: give both files")
	}
	f := &watchedFile[tls.Certificate]{what: "certificate", names: []string{files.Certificate, files.Key}, bytesMax: pemBytesMax, log: log,
		make: func(read []content) (*tls.Certificate, error) { return pair(read[0], read[1], log) }}
	return f, f.start()
}

// pair makes a certificate from the files of a certificate and its key.
func pair(certificate, key content, log *slog.Logger) (*tls.Certificate, error) {
	op := "read " + certificate.name + " and " + key.name
	pair, err := tls.X509KeyPair(certificate.text, key.text)
	if err != nil {
		return nil, slo.E(op, slo.KindInvalid, "%w", err)
	}
	if until := pair.Leaf.NotAfter; time.Now().After(until) {
		return nil, slo.E(op, slo.KindInvalid, "the certificate has expired: it was valid until %s", until.Format(time.RFC3339))
	}
	if warning := key.openness("which lets them pretend to be this server"); warning != "" {
		log.Warn(warning)
	}
	return &pair, nil
}
