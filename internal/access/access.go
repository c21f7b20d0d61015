// Package access decides what a caller may do: run inferences, or administer the
// server as well. REST and gRPC describe the caller in plain values; this package
// knows neither.
//
// # Rules without tokens
//
// Everybody who can reach the server may run inferences and ask about models. If the
// server listens on loopback only, a request over REST must also have a Host of
// loopback, see below. Only programs on this machine may administer the server: the
// connection must be from a loopback address, and the request must have no header that
// proxies add. Web pages can make a browser on this machine send requests here. So the
// Host must be a name or an address of loopback (a page whose own name resolves to
// 127.0.0.1 sends its own name), and if the browser says which page sent a request
// (Origin, Sec-Fetch-Site), it must be a page of this server.
//
// A proxy on this machine that adds no header looks like a local program, so a server
// behind one needs tokens: see docs/security.md.
//
// # Rules with tokens
//
// Every request except one about health needs a token with a sufficient role, even
// from this machine. A token has 32 random bytes or more. The file has only SHA-256
// hashes, so a reader of the file cannot call the server. The server hashes a caller's
// token and looks the hash up. The time of this look-up depends on the hash of what
// the caller sent, which does not help to find a token, so the comparison need not
// take constant time.
//
// # Files that change
//
// Tokens and certificates are read again when their files change. The files are checked
// at most once a second, and only while there are requests. If a new file is wrong or
// gone, that is logged once and the old content stays in force.
package access

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Role is what a caller may do. Each role includes the ones before it.
type Role uint8

// The roles. The zero Role is none: nobody may make a call that needs it, so a
// forgotten role is a safe mistake.
const (
	Public Role = iota + 1 // ask whether the server is live and ready; needs no token, and no token has this role
	Infer                  // ask about models and run inferences
	Admin                  // load and unload models, see what the server does and for whom
)

var roleNames = [...]string{"none", "public", "infer", "admin"}

// String is the role's name in the tokens file and in messages.
func (r Role) String() string {
	if int(r) >= len(roleNames) {
		return "unknown"
	}
	return roleNames[r]
}

// MarshalText writes the role's name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ParseRole reads the name of a role that a token may have.
func ParseRole(name string) (Role, error) {
	for _, r := range []Role{Infer, Admin} {
		if name == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("role %q does not exist: use infer or admin", name)
}

// Peer is what a transport knows about a caller.
type Peer struct {
	// Remote is the other end of the connection. The zero value, for a connection that
	// is not over IP, counts as remote.
	Remote netip.AddrPort
	// Host is the server's name as the caller wrote it: HTTP's Host, gRPC's :authority.
	Host string
	// Local is where the server listens for such callers.
	Local Listener
	// Header is the header of the request; names may be in any case.
	Header map[string][]string
}

// Listener says where a server listens. The zero value can be reached from a network.
type Listener struct {
	Loopback bool   // only programs on this machine can reach it
	Host     string // the name or address in its configuration, without port
}

// ListenerAt describes a listener by the host:port in its configuration and the address
// it got.
func ListenerAt(hostPort string, at net.Addr) Listener {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = ""
	}
	tcp, ok := at.(*net.TCPAddr)
	return Listener{Loopback: ok && tcp.IP.IsLoopback(), Host: host}
}

// Header finds the values of a header by its canonical name ("X-Forwarded-For"). Get
// returns the first, "" if there is none; Values returns all, and some may be empty.
// net/http's Header implements it.
type Header interface {
	Get(name string) string
	Values(name string) []string
}

// values returns the values of a header by its canonical name.
func (p Peer) values(name string) []string {
	if values, ok := p.Header[name]; ok {
		return values
	}
	for other, values := range p.Header {
		if strings.EqualFold(other, name) {
			return values
		}
	}
	return nil
}

// header returns the first value of a header, "" if there is none.
func (p Peer) header(name string) string {
	if values := p.values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Caller is a caller that Check has accepted.
type Caller struct {
	Name string // of its token; "" without tokens
	Role Role
}

// Guard decides what callers may do. It is safe for concurrent use. The zero Guard has
// no tokens.
type Guard struct {
	tokens *watchedFile[tokens]
}

// New returns a guard with the tokens in a file, or one without tokens for "". The
// warning is for the log, about a file that is valid but risky; "" if there is none.
// The error lists all mistakes in the file, by line.
func New(tokensFile string, log *slog.Logger) (g *Guard, warning string, err error) {
	if tokensFile == "" {
		return &Guard{}, "", nil
	}
	f := &watchedFile[tokens]{what: "tokens", names: []string{tokensFile}, bytesMax: tokensBytesMax, make: makeTokens,
		warning: func(t *tokens) string { return t.warning }, log: log}
	if err := f.start(); err != nil {
		return nil, "", err
	}
	return &Guard{tokens: f}, f.current().warning, nil
}

// HasTokens reports whether callers need a token.
func (g *Guard) HasTokens() bool { return g.tokens != nil }

// TokensStale returns why the tokens in use are not those in the file: the file cannot
// be read, or has mistakes. It returns "" if they are.
func (g *Guard) TokensStale() string {
	if g.tokens == nil {
		return ""
	}
	return g.tokens.staleness()
}

// Check accepts a caller for a call that needs a role, or returns an error that says
// why not and what to do. Errors have kind unauthenticated (no token, or an unknown
// one) or forbidden (the token's role is not enough, or the caller is not local).
func (g *Guard) Check(need Role, p Peer) (Caller, error) {
	switch {
	case need == Public:
		return Caller{Role: Public}, nil
	case need != Infer && need != Admin:
		return Caller{}, slo.E("", slo.KindInternal, "nobody may make this call: its role is %q", need)
	case g.tokens != nil:
		return g.tokens.current().check(need, p)
	case need == Infer:
		if p.Local.Loopback && !p.Local.answersTo(p.Host) {
			return Caller{}, slo.E("", slo.KindForbidden,
				"this server has no tokens and listens on this machine only, so the Host of a request must be localhost or a loopback address, and this one is %.80q (web pages could send such requests through a browser): use localhost, or start the server with --tokens FILE", p.Host)
		}
		return Caller{Role: Infer}, nil
	}
	if reason := foreign(p); reason != "" {
		return Caller{}, slo.E("", slo.KindForbidden,
			"only programs on the server's machine may administer a server without tokens, and %s: start the server with --tokens FILE and send a token of role admin", reason)
	}
	return Caller{Role: Admin}, nil
}

// answersTo reports whether a request for this Host may be from a program on this
// machine. A request without a Host is not from a browser.
func (l Listener) answersTo(host string) bool {
	if host == "" || loopbackHost(host) {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return l.Host != "" && strings.EqualFold(host, l.Host)
}

// proxyHeaders are headers that proxies, load balancers, content networks and meshes
// add when they pass a request on. The other end of the connection is then not the
// caller. A header counts whatever its value is: a client can send an empty one, and
// the proxy adds a second. An entry that ends in "-" is the beginning of many names.
var proxyHeaders = [...]string{
	"forwarded", "via", "x-forwarded", "x-forwarded-", "x-original-", "x-real-ip", "x-client-ip", "client-ip", "x-cluster-client-ip", "true-client-ip",
	"x-proxyuser-ip", "x-remote-ip", "x-remote-addr", "early-data", "client-cert", "client-cert-chain", "x-client-cert", "ssl-client-cert", "x-ssl-",
	"cdn-loop", "cf-", "fastly-", "x-amzn-", "x-amz-cf-", "x-appengine-", "x-azure-", "x-arr-", "x-varnish", "x-envoy-", "l5d-",
}

// passedOn returns the name of a header that a proxy has added, "" if there is none.
func (p Peer) passedOn() string {
	for name := range p.Header {
		trimmed := strings.TrimSpace(name)
		for _, known := range proxyHeaders {
			if n := len(known); len(trimmed) >= n && strings.EqualFold(trimmed[:n], known) && (len(trimmed) == n || known[n-1] == '-') {
				return name
			}
		}
	}
	return ""
}

// foreign returns why a request does not count as coming from a program on this
// machine, "" if it does.
func foreign(p Peer) string {
	if !p.Remote.Addr().Unmap().IsLoopback() {
		if !p.Remote.IsValid() {
			return "this request has no network address"
		}
		return "this request is from " + p.Remote.Addr().String()
	}
	if name := p.passedOn(); name != "" {
		return fmt.Sprintf("this request was passed on by a proxy (header %.80s)", name)
	}
	if !loopbackHost(p.Host) {
		return fmt.Sprintf("the Host of this request is %.80q, not localhost", p.Host)
	}
	for _, site := range p.values("Sec-Fetch-Site") {
		if site != "same-origin" && site != "none" {
			return fmt.Sprintf("a web page of another site sent this request (header Sec-Fetch-Site %.80q)", site)
		}
	}
	for _, origin := range p.values("Origin") {
		if !sameOrigin(origin, p.Host) {
			return fmt.Sprintf("a web page of %.80q sent this request (header Origin)", origin)
		}
	}
	return ""
}

// loopbackHost reports whether a Host is a name or an address of loopback, with
// or without a port.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// sameOrigin reports whether a page's origin is this server, under the name in Host.
func sameOrigin(origin, host string) bool {
	scheme, rest, _ := strings.Cut(origin, "://")
	return (scheme == "http" || scheme == "https") && strings.EqualFold(rest, host)
}
