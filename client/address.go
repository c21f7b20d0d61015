package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// address is the URL of a server, of the scheme http, https, grpc or grpcs.
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
		return address{}, fmt.Errorf("server address %q has a query or a fragment: only host, port and path are allowed", addr)
	case at.grpc() && at.Path != "":
		return address{}, fmt.Errorf("server address %q has a path: gRPC allows host and port only", addr)
	}
	return at, nil
}

func (a *address) grpc() bool { return a.Scheme == "grpc" || a.Scheme == "grpcs" }

func (a *address) secure() bool { return a.Scheme == "https" || a.Scheme == "grpcs" }

// target is host and port, for gRPC.
func (a *address) target() string {
	port := a.Port()
	if port == "" {
		port = grpcPort
	}
	return net.JoinHostPort(a.Hostname(), port)
}

// loopback reports whether the server is on this machine.
func (a *address) loopback() bool {
	host, _, _ := strings.Cut(a.Hostname(), "%")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// check returns an error if options exclude each other or do not fit the address.
func (o *Options) check(at address) error {
	switch {
	case o.TLS != nil && !at.secure():
		return errors.New("Options.TLS is set, but the address is without TLS: use https or grpcs")
	case at.grpc() && o.GRPC == nil:
		return errors.New("the address is one of gRPC: set Options.GRPC to clientgrpc.Dial of github.com/mosel-serve/mosel/client/clientgrpc")
	case o.Transport != nil && at.grpc():
		return errors.New("Options.Transport is for REST, but the address is one of gRPC: use http or https")
	case o.Transport != nil && o.TLS != nil:
		return errors.New("Options.TLS is set, but it does not apply to Options.Transport: configure TLS there")
	case !sendable(o.Token):
		return errors.New("Options.Token has characters that a header cannot carry: use visible ASCII") // the token is secret, so it is not printed
	case !sendable(o.ClientKey):
		return fmt.Errorf("Options.ClientKey %q has characters that a header cannot carry: use visible ASCII", o.ClientKey)
	case o.Token != "" && !at.secure() && !at.loopback() && !o.AllowInsecureToken:
		return errors.New("the token would be sent without TLS: use https or grpcs, or set Options.AllowInsecureToken if the network is trusted")
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
