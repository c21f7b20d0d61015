package remote

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

const (
	// askTime is how long a server may take to say whether it is ready, or what a model
	// of its is like.
	askTime = 5 * time.Second
	// probeTime is the same while a batch waits that has failed. The engine gives a run
	// up two seconds after it was told to end.
	probeTime = 1500 * time.Millisecond
)

// server is the way to one server, shared by the variants that run there.
type server struct {
	where  *modelpkg.Remote
	client *client.Client
	json   bool // it has no binary form
}

// dial prepares the way to a server; nothing is sent yet.
func dial(m *modelpkg.Model, where *modelpkg.Remote) (*server, error) {
	opts := client.Options{ConnectionsMax: connections(m, where), ResponseBytesMax: answerBytesMax(m), GRPC: clientgrpc.Dial}
	if where.TokenEnv != "" {
		if opts.Token = os.Getenv(where.TokenEnv); opts.Token == "" {
			return nil, fmt.Errorf("the environment variable %s, which is to hold the token, is not set", where.TokenEnv)
		}
	}
	if where.CA != "" {
		pool, err := authorities(m, where.CA)
		if err != nil {
			return nil, err
		}
		opts.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	c, err := client.New(where.Server, opts)
	if err != nil {
		return nil, err
	}
	return &server{where: where, client: c}, nil
}

// binaryExtension is how servers call the protocol's binary form over REST.
const binaryExtension = "binary_tensor_data"

// connections is how many calls may be under way: those of all variants that run
// there, and one that asks whether the server is ready.
func connections(m *modelpkg.Model, where *modelpkg.Remote) int {
	n := 1
	for v := range m.Variants {
		for _, r := range m.RemotesOf(v) {
			if r != nil && r.Server == where.Server {
				n += r.Slots
			}
		}
	}
	return n
}

// authorities reads certificates of the package, as they were when it was checked.
func authorities(m *modelpkg.Model, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(m.File(file))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(pem)
	if want, known := m.Files[file]; known && want != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%s has changed since the package was read", file)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

// route asks the server about the model that runs a step of a variant, or all of it, and
// compares it with the package.
func (s *server) route(ctx context.Context, m *modelpkg.Model, variant, step int) (*route, error) {
	where := m.RemotesOf(variant)[step]
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	ready, err := s.client.Ready(asking)
	if err == nil && !ready {
		return nil, slo.E("", slo.KindUnavailable, "its server %s is not ready", where.Server)
	}
	if err != nil {
		return nil, s.unanswered(ctx, where, err)
	}
	if !where.GRPC() {
		about, err := s.client.Server(asking)
		if err != nil {
			return nil, s.unanswered(ctx, where, err)
		}
		s.json = !slices.Contains(about.Extensions, binaryExtension)
	}
	metadata, err := s.client.VersionMetadata(asking, where.Model, where.Version)
	if err != nil {
		return nil, s.unanswered(ctx, where, err)
	}
	r := newRoute(s, m, variant, step)
	if err := r.fit(metadata); err != nil {
		return nil, slo.E("", slo.KindInvalid, "the model %s of %s does not fit the package: %w", where.Model, where.Server, err)
	}
	return r, nil
}

// unanswered is the error of a question that got no answer of use.
func (s *server) unanswered(ctx context.Context, where *modelpkg.Remote, err error) error {
	switch told, ok := errors.AsType[*client.Error](err); {
	case ctx.Err() != nil:
		return ended("", ctx.Err())
	case errors.Is(err, client.ErrNotFound):
		return slo.E("", slo.KindNotFound, "%s has no model %s: %s", where.Server, named(where), told.Message)
	case ok && (told.Status == 401 || told.Status == 403):
		return slo.E("", slo.KindInvalid, "%s refuses to answer, is the token right? %s", where.Server, oneLine(told.Message))
	}
	return slo.E("", slo.KindUnavailable, "its server %s cannot be asked: %s", where.Server, oneLine(err.Error()))
}

func named(where *modelpkg.Remote) string {
	if where.Version == "" {
		return where.Model
	}
	return where.Model + ", version " + where.Version
}

// lost reports whether the server is gone: it does not answer, or is not ready.
func (s *server) lost(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	ready, err := s.client.Ready(asking)
	return err != nil || !ready
}

// answerBytesMax bounds what is read of an answer: the outputs of the largest batch,
// written as JSON, in which a number may take so many times its bytes, and room for
// all else.
func answerBytesMax(m *modelpkg.Model) int64 {
	most := outputBytesMax(m, m.Outputs)
	for _, stage := range m.Stages {
		most = max(most, outputBytesMax(m, stage.Outputs))
	}
	return most
}

func outputBytesMax(m *modelpkg.Model, outputs []modelpkg.Spec) int64 {
	total := int64(0)
	for _, out := range outputs {
		bytes := int64(runtime.ItemBytes(out))
		if slices.Contains(out.Shape, -1) {
			if out.Max == 0 {
				return answerBytesCeiling
			}
			bytes *= out.Max
		}
		total += bytes * int64(m.Limits.BatchItemsMax) * jsonGrowth
		if total > answerBytesCeiling {
			return answerBytesCeiling
		}
	}
	return total + answerBytesBeside
}

const (
	// answerBytesCeiling is what an answer may have whose outputs the package does not
	// bound, as in package ort.
	answerBytesCeiling = 512 << 20
	// answerBytesBeside is for what an answer has beside its outputs.
	answerBytesBeside = 1 << 20
	// jsonGrowth is how many bytes of JSON a byte of a number may become: "-128," of
	// one, "-1.1754943508222875e-38, " of four.
	jsonGrowth = 7
)
