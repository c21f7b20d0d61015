package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// address is where a server is, and how to talk to it: http, https, grpc or
// grpcs.
type address struct{ url.URL }

// grpcPort is where servers of the protocol listen for gRPC by default.
const grpcPort = "8001"

func parseAddress(addr string) (address, error) {
	text := addr
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return address{}, fmt.Errorf("server address: %w", err)
	}
	at := address{url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/"), RawPath: strings.TrimRight(u.RawPath, "/")}}
	switch {
	case u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" && !at.grpc():
		return address{}, fmt.Errorf("server address %q is neither host:port nor a URL of http, https, grpc or grpcs", addr)
	case u.User != nil:
		return address{}, fmt.Errorf("server address %q has a user: credentials go into Options.Token", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return address{}, fmt.Errorf("server address %q has more than host, port and path", addr)
	case at.grpc() && at.Path != "":
		return address{}, fmt.Errorf("server address %q has a path, which gRPC has not", addr)
	}
	return at, nil
}

func (a *address) grpc() bool { return a.Scheme == "grpc" || a.Scheme == "grpcs" }

func (a *address) secure() bool { return a.Scheme == "https" || a.Scheme == "grpcs" }

// target is host and port as gRPC wants them.
func (a *address) target() string {
	port := a.Port()
	if port == "" {
		port = grpcPort
	}
	return net.JoinHostPort(a.Hostname(), port)
}

// loopback reports whether what is sent there stays on this machine.
func (a *address) loopback() bool {
	host, _, _ := strings.Cut(a.Hostname(), "%")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// check says which options do not fit together or to the address.
func (o *Options) check(at address) error {
	switch {
	case o.TLS != nil && !at.secure():
		return errors.New("Options.TLS is set, but the address is one of plain text: use https or grpcs")
	case at.grpc() && o.GRPC == nil:
		return errors.New("the address is one of gRPC, which is an import of its own: set Options.GRPC to clientgrpc.Dial of github.com/mosel-serve/mosel/client/clientgrpc")
	case o.Transport != nil && at.grpc():
		return errors.New("Options.Transport is for REST, the address is one of gRPC")
	case o.Transport != nil && o.TLS != nil:
		return errors.New("Options.TLS is for the client's own transport: give yours its configuration itself")
	case !sendable(o.Token):
		return errors.New("Options.Token has characters that no header can carry") // and is not printed
	case !sendable(o.ClientKey):
		return fmt.Errorf("Options.ClientKey %q has characters that no header can carry", o.ClientKey)
	case o.Token != "" && !at.secure() && !at.loopback() && !o.AllowInsecureToken:
		return errors.New("the token would travel in plain text: use https or grpcs, or set Options.AllowInsecureToken if the network is trusted")
	}
	return nil
}

// sendable reports whether a header, and gRPC metadata, can carry the text:
// visible ASCII, spaces between.
func sendable(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == ' ' && (i == 0 || i == len(text)-1) {
			return false
		}
	}
	return true
}
