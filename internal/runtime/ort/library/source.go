package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// downloadTimeout bounds one source: the largest archive (100 MB) needs at least
	// 170 kB/s.
	downloadTimeout = 10 * time.Minute
	// connectTimeout and answerTimeout bound the wait for a firewall that drops
	// packets, before the next source is tried.
	connectTimeout = 10 * time.Second
	answerTimeout  = 20 * time.Second
	// archiveBytesMax bounds a download; the largest pinned archive has 100 MB.
	archiveBytesMax = 256 << 20
	// complaintBytesMax bounds how much of a registry client's error output is
	// repeated.
	complaintBytesMax = 600
)

// source downloads the pinned archive of one channel into a directory and returns its
// path. It need not verify anything.
type source interface {
	fmt.Stringer
	channel() Channel
	fetch(ctx context.Context, p pin, dir string) (archive string, err error)
}

// sources returns the sources in order of preference.
func sources() []source {
	return []source{
		website{files: releaseFiles, client: &http.Client{Transport: transport()}},
		registry{
			from:     PyPI,
			programs: [][]string{{"pip3"}, {"pip"}, {"python3", "-m", "pip"}, {"python", "-m", "pip"}},
			arguments: func(p pin, dir string) []string {
				return []string{"download", "onnxruntime==" + Version, "--no-deps", "--only-binary=:all:", "--dest", dir,
					"--platform", p.wheel, "--implementation", "cp", "--python-version", "3.12", "--abi", "cp312",
					"--disable-pip-version-check", "--no-input", "--quiet"}
			},
		},
		registry{
			from:     NPM,
			programs: [][]string{{"npm"}},
			arguments: func(_ pin, dir string) []string {
				return []string{"pack", "onnxruntime-node@" + Version, "--pack-destination", dir, "--ignore-scripts", "--silent"}
			},
		},
	}
}

// website is the official release, over plain HTTPS.
type website struct {
	files  string // URL of the directory of the release's files
	client *http.Client
}

func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() // uses proxies from the environment
	t.DialContext = (&net.Dialer{Timeout: connectTimeout}).DialContext
	t.TLSHandshakeTimeout = connectTimeout
	t.ResponseHeaderTimeout = answerTimeout
	return t
}

func (website) channel() Channel { return Release }
func (website) String() string   { return "official release on GitHub" }

func (w website) fetch(ctx context.Context, p pin, dir string) (archive string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.files+"/"+p.archive, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", request.URL, response.Status)
	}
	archive = filepath.Join(dir, p.archive)
	f, err := os.Create(archive)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(f, io.LimitReader(response.Body, archiveBytesMax+1))
	if err == nil && n > archiveBytesMax {
		err = fmt.Errorf("GET %s: more than %d bytes", request.URL, archiveBytesMax)
	}
	return archive, err
}

// registry is a package registry, used through its own client, so that the user's
// mirrors, proxies and credentials apply.
type registry struct {
	from      Channel
	programs  [][]string // ways to call the client; the first installed one is used
	arguments func(p pin, dir string) []string
}

func (r registry) channel() Channel { return r.from }

func (r registry) String() string {
	arguments := r.arguments(pin{}, "")
	return strings.Join(append([]string{r.programs[0][0]}, arguments[:2]...), " ")
}

func (r registry) fetch(ctx context.Context, p pin, dir string) (string, error) {
	program := r.installed()
	if program == nil {
		return "", fmt.Errorf("%s is not installed", r.programs[0][0])
	}
	arguments := append(program[1:], r.arguments(p, dir)...)
	command := exec.CommandContext(ctx, program[0], arguments...)
	command.Dir = dir                    // a project's own settings must not apply
	command.WaitDelay = 10 * time.Second // for child processes of the client
	var said tail
	command.Stdout, command.Stderr = &said, &said
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("%w%s", err, said)
	}
	return filepath.Join(dir, p.archive), nil
}

// installed returns the first way to call the client that this machine has.
func (r registry) installed() []string {
	for _, program := range r.programs {
		if path, err := exec.LookPath(program[0]); err == nil {
			return append([]string{path}, program[1:]...)
		}
	}
	return nil
}

// tail keeps the end of a client's output, which has the reason.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if drop := len(*t) - complaintBytesMax; drop > 0 {
		*t = append((*t)[:0], (*t)[drop:]...)
	}
	return len(p), nil
}

// String returns the output on one line, after a colon; "" if there is none.
func (t tail) String() string {
	text := strings.Join(strings.Fields(string(t)), " ")
	if text == "" {
		return ""
	}
	return ": " + text
}
