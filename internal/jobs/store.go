package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Store keeps values under keys. A key is words of letters, digits and hyphens joined by
// points. When a method returns nil, its effect survives a crash. After any other
// error than those below, the effect may or may not have happened.
type Store interface {
	// Create stores a value under a new key. It fails with ErrExists if the key has a
	// value, and with ErrFull if there is no room.
	Create(ctx context.Context, key string, value []byte) error
	// Get returns the value of a key, or ErrNotFound.
	Get(ctx context.Context, key string) ([]byte, error)
	// List returns the keys that begin with the words of prefix and have more.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete removes a key, and those that List returns for it.
	Delete(ctx context.Context, prefix string) error
	Close()
}

// What a Store says besides failures.
var (
	ErrExists   = errors.New("the key has a value")
	ErrNotFound = errors.New("the key has no value")
	ErrFull     = errors.New("the store of jobs has no room left")
)

// ValueBytesMax bounds a value: NATS refuses messages above 1 MiB by default.
const ValueBytesMax = 768 << 10

// put creates a key, or finds that it has this value already, as after a write whose
// answer was lost.
func put(ctx context.Context, s Store, key string, value []byte) error {
	err := s.Create(ctx, key, value)
	if !errors.Is(err, ErrExists) {
		return err
	}
	there, err := s.Get(ctx, key)
	if err == nil && !bytes.Equal(there, value) {
		err = ErrExists
	}
	return err
}

// putPieces stores data under keys prefix.0, prefix.1 and so on.
func putPieces(ctx context.Context, s Store, prefix string, data []byte) error {
	for n := 0; len(data) > 0; n++ {
		piece := data[:min(len(data), ValueBytesMax)]
		if err := put(ctx, s, fmt.Sprintf("%s.%d", prefix, n), piece); err != nil {
			return err
		}
		data = data[len(piece):]
	}
	return nil
}

// getPieces reads what putPieces stored, of this size and sum.
func getPieces(ctx context.Context, s Store, prefix string, n, size int) ([]byte, error) {
	data := make([]byte, 0, size)
	for i := range n {
		piece, err := s.Get(ctx, fmt.Sprintf("%s.%d", prefix, i))
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
	return data, nil
}
