//go:build !unix

package isolated

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/mosel-serve/mosel/internal/runtime"
)

var errSystem = errors.New("isolation: process needs Linux, macOS or another Unix")

// worker is a process, which this system does not give a socket to.
type worker struct {
	conn   net.Conn
	reader *bufio.Reader
	killed atomic.Bool
}

func start(Config, string) (*worker, error) { return nil, errSystem }

func (*worker) kill() {}

func (*worker) end() string { return "" }

// Serve is a worker, of which there are none here.
func Serve(func(context.Context) (runtime.Runtime, error)) error { return errSystem }
