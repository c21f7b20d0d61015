// Package jetstream stores durable jobs on NATS JetStream: in a server inside this
// process, which listens nowhere, or in a cluster. Only the connection differs. A
// value is the last message of a subject of one stream; a message is created only if its
// subject has none.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config says where the stream is.
type Config struct {
	// Dir is the directory of the server inside this process.
	Dir string
	// URL, if not empty, is that of a NATS cluster, which is used in place of Dir.
	URL string
	// Stream is the name of the stream. Only one mosel may use it at a time.
	Stream string
	// Replicas is how many servers of the cluster have a copy.
	Replicas int
	// BytesMax bounds the stream.
	BytesMax int64
}

// How long starting and connecting may take.
const (
	startTime   = 10 * time.Second
	connectTime = 5 * time.Second
)

// store is one connection, and the server behind it if it is in this process.
type store struct {
	lock   *flock.Flock
	server *server.Server
	conn   *nats.Conn
	js     natsjs.JetStream
	stream natsjs.Stream
	prefix string
}

// Open connects to the stream and creates it if there is none. Every message is on disk
// before it is acknowledged: a server in this process syncs each write; in a cluster the
// operator has to set sync_interval: always.
func Open(ctx context.Context, cfg Config) (jobs.Store, error) {
	s := &store{prefix: "mosel." + strings.ToLower(cfg.Stream) + "."}
	if err := s.open(ctx, cfg); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) open(ctx context.Context, cfg Config) (err error) {
	options := []nats.Option{nats.Name("mosel"), nats.Timeout(connectTime), nats.NoReconnect()} // package jobs opens the store again
	url := cfg.URL
	if url == "" {
		if err := s.start(cfg.Dir); err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(s.server))
	}
	if s.conn, err = nats.Connect(url, options...); err != nil {
		return slo.E("connect to "+hidden(url), slo.KindUnavailable, "%w", err)
	}
	if s.js, err = natsjs.New(s.conn); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	s.stream, err = s.js.CreateOrUpdateStream(ctx, natsjs.StreamConfig{
		Name: cfg.Stream, Description: "durable jobs of mosel", Subjects: []string{s.prefix + ">"}, Storage: natsjs.FileStorage, Replicas: max(cfg.Replicas, 1),
		MaxMsgsPerSubject: 1, Discard: natsjs.DiscardNew, MaxBytes: cfg.BytesMax,
	})
	if err != nil {
		return slo.E("open the stream "+cfg.Stream, slo.KindUnavailable, "%w", err)
	}
	return nil
}

// hidden is an address without a password.
func hidden(url string) string {
	if at := strings.LastIndexByte(url, '@'); at >= 0 {
		return url[at+1:]
	}
	if url == "" {
		return "the NATS server in this process"
	}
	return url
}

// start starts a server in this process.
func (s *store) start(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return slo.E("", slo.KindUnavailable, "%w", err)
	}
	s.lock = flock.New(filepath.Join(dir, "lock"))
	if locked, err := s.lock.TryLock(); err != nil || !locked {
		s.lock = nil
		if err == nil {
			err = errors.New("another process uses it")
		}
		return slo.E("lock "+dir, slo.KindUnavailable, "%w", err)
	}
	var err error
	s.server, err = server.NewServer(&server.Options{ServerName: "mosel", DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		return slo.E("start a NATS server on "+dir, slo.KindUnavailable, "%w", err)
	}
	s.server.Start()
	if !s.server.ReadyForConnections(startTime) {
		return slo.E("start a NATS server on "+dir, slo.KindUnavailable, "it is not ready after %v", startTime)
	}
	if !s.server.JetStreamEnabled() {
		return slo.E("start a NATS server on "+dir, slo.KindUnavailable, "JetStream did not start: is the disk full, or not writable?")
	}
	return nil
}

// Close ends the connection, and the server.
func (s *store) Close() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	if s.lock != nil {
		_ = s.lock.Unlock() // the process may go on without the file
	}
}

// Create implements jobs.Store.
func (s *store) Create(ctx context.Context, key string, value []byte) error {
	_, err := s.js.Publish(ctx, s.prefix+key, value, natsjs.WithExpectLastSequencePerSubject(0))
	return known(err)
}

// streamStoreFailed is the server's code of a message that it could not store.
const streamStoreFailed = 10077

// known turns errors of NATS into those of package jobs.
func known(err error) error {
	var told *natsjs.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, natsjs.ErrMsgNotFound):
		return jobs.ErrNotFound
	case errors.As(err, &told) && told.ErrorCode == natsjs.JSErrCodeStreamWrongLastSequence:
		return jobs.ErrExists
	case errors.As(err, &told) && told.ErrorCode == streamStoreFailed && strings.Contains(told.Description, "maximum bytes"):
		return jobs.ErrFull
	}
	return err
}

// Get implements jobs.Store.
func (s *store) Get(ctx context.Context, key string) ([]byte, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, s.prefix+key)
	if err != nil {
		return nil, known(err)
	}
	return m.Data, nil
}

// List implements jobs.Store.
func (s *store) List(ctx context.Context, prefix string) ([]string, error) {
	info, err := s.stream.Info(ctx, natsjs.WithSubjectFilter(s.prefix+prefix+".>"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	keys := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, s.prefix))
	}
	return keys, nil
}

// Delete implements jobs.Store.
func (s *store) Delete(ctx context.Context, prefix string) error {
	for _, subject := range []string{s.prefix + prefix, s.prefix + prefix + ".>"} {
		if err := s.stream.Purge(ctx, natsjs.WithPurgeSubject(subject)); err != nil {
			return fmt.Errorf("delete %s: %w", prefix, err)
		}
	}
	return nil
}
