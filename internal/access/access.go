// Package access decides who may do what: whether a caller may have inferences
// run, and whether it may administer the server. REST and gRPC ask it alike, with
// what they know of a caller as plain values; it knows neither.
//
// # Rules without tokens
//
// Inference, and asking about models, is open to everybody who can reach the
// server; where it listens on loopback only, a request over REST must also be for a
// Host of loopback, see below. Administration is
// for programs of this machine only: the connection must come from a loopback
// address and there must be no header of those that proxies add. The user of
// this machine also runs a browser, which visits strangers' pages, and those can
// make it send requests here. So the Host must be a name or an address of
// loopback (a page whose own name was made to resolve to 127.0.0.1 sends its own
// name), and where the browser says which page a request comes from (Origin,
// Sec-Fetch-Site), it must be a page of this server.
//
// A proxy on this machine that adds no header looks like a local program; a
// server behind one needs tokens, which docs/security.md says in its first lines.
//
// # Rules with tokens
//
// Everything but health needs a token of a sufficient role, from this machine
// too. Tokens are 32 random bytes or more and the file has only their SHA-256,
// so that who reads the file cannot call the server. A caller's token is hashed
// and its hash looked up: how long that takes tells something about the hash of
// what the caller sent, which helps nobody to find a token, so nothing needs to
// be compared in constant time.
//
// # Files that change
//
// Tokens and certificates are read anew when their files change, looked at once
// a second at most and only while requests come. What is wrong with a new file
// is logged once, and the old one stays in force; also when the file is gone.
package access

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Role is what a caller may do. Each role may do all that those before it may.
type Role uint8

// The roles. The zero Role is none: a call that nobody gave a role is for nobody.
const (
	Public Role = iota + 1 // ask whether the server lives and is ready; needs no token, no token has it
	Infer                  // ask about models and have inferences run
	Admin                  // load and unload models, look into the server
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
	return 0, fmt.Errorf("role %q is neither infer nor admin", name)
}

// Peer is what a transport knows of who calls.
type Peer struct {
	// Remote is the other end of the connection. The zero value, for what is not
	// an IP connection, is not of this machine.
	Remote netip.AddrPort
	// Host is what the caller takes the server for: HTTP's Host, gRPC's
	// :authority.
	Host string
	// Local is where the server listens for such callers.
	Local Listener
	// Header is what came with the request, by name in whatever case; nil for nothing.
	Header map[string][]string
}

// Listener is what a server knows of where it listens. The zero value is reached
// from a network.
type Listener struct {
	Loopback bool   // only programs of this machine reach it
	Host     string // by which name or address it was told to listen there, without port
}

// ListenerAt describes a listener that was opened at host:port, and the address
// that this came to.
func ListenerAt(hostPort string, at net.Addr) Listener {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = ""
	}
	tcp, ok := at.(*net.TCPAddr)
	return Listener{Loopback: ok && tcp.IP.IsLoopback(), Host: host}
}

// Header finds the values of a header by its name as HTTP writes it
// ("X-Forwarded-For"): Get the first, "" if there is none, Values all, of which some
// may be empty. net/http's Header is one.
type Header interface {
	Get(name string) string
	Values(name string) []string
}

// values are those of a header by its canonical name.
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

// header is the first value of a header, "" if there is none.
func (p Peer) header(name string) string {
	if values := p.values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Caller is who was let in.
type Caller struct {
	Name string // of its token; "" without tokens
	Role Role
}

// Guard decides. It is safe for concurrent use. The zero Guard has no tokens.
type Guard struct {
	tokens *followed[tokens]
}

// New makes a guard with the tokens in a file, or one without tokens for "". The
// warning, if there is one, is for the log: it is about a file that is not wrong
// but could be better. Errors tell everything that is wrong with the file, by
// line.
func New(tokensFile string, log *slog.Logger) (g *Guard, warning string, err error) {
	if tokensFile == "" {
		return &Guard{}, "", nil
	}
	f := &followed[tokens]{what: "tokens", names: []string{tokensFile}, bytesMax: tokensBytesMax, make: makeTokens,
		remark: func(t *tokens) string { return t.warning }, log: log}
	if err := f.start(); err != nil {
		return nil, "", err
	}
	return &Guard{tokens: f}, f.current().warning, nil
}

// HasTokens reports whether callers need a token.
func (g *Guard) HasTokens() bool { return g.tokens != nil }

// TokensStale says why the tokens in force are those that the file had before: it
// cannot be read, or is wrong. "" if they are what it says.
func (g *Guard) TokensStale() string {
	if g.tokens == nil {
		return ""
	}
	return g.tokens.staleness()
}

// Check lets a caller in or says why not, and what to do about it. need is what
// the call needs. Errors are of kind unauthenticated (no token, or none of ours)
// or forbidden (the role or the place of the caller is not enough).
func (g *Guard) Check(need Role, p Peer) (Caller, error) {
	switch {
	case need == Public:
		return Caller{Role: Public}, nil
	case need != Infer && need != Admin:
		return Caller{}, slo.E("", slo.KindInternal, "nobody may make this call: it needs the role %q", need)
	case g.tokens != nil:
		return g.tokens.current().check(need, p)
	case need == Infer:
		if p.Local.Loopback && !p.Local.answersTo(p.Host) {
			return Caller{}, slo.E("", slo.KindForbidden,
				"this server listens on this machine only and has no tokens, so it answers requests for the host localhost; this one is for %.80q, as a page in a browser would send that has its name lead here: call it by localhost, or start it with --tokens FILE", p.Host)
		}
		return Caller{Role: Infer}, nil
	}
	if reason := foreign(p); reason != "" {
		return Caller{}, slo.E("", slo.KindForbidden,
			"without tokens only programs of this machine may administer the server, and %s: start it with --tokens FILE and send a token of role admin", reason)
	}
	return Caller{Role: Admin}, nil
}

// answersTo reports whether a request for this Host may be of a program of this
// machine. One without a Host is not of a browser.
func (l Listener) answersTo(host string) bool {
	if host == "" || loopbackHost(host) {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return l.Host != "" && strings.EqualFold(host, l.Host)
}

// proxyHeaders tell that a request was passed on, so that the other end of its
// connection is not who sent it: by proxies, load balancers, content networks and
// meshes. That one is there counts, whatever it says: a client can send an empty
// one first, and the proxy adds its own behind it. Names that end in "-" begin
// those of a family.
var proxyHeaders = [...]string{
	"forwarded", "via", "x-forwarded", "x-forwarded-", "x-original-", "x-real-ip", "x-client-ip", "client-ip", "x-cluster-client-ip", "true-client-ip",
	"x-proxyuser-ip", "x-remote-ip", "x-remote-addr", "early-data", "client-cert", "client-cert-chain", "x-client-cert", "ssl-client-cert", "x-ssl-",
	"cdn-loop", "cf-", "fastly-", "x-amzn-", "x-amz-cf-", "x-appengine-", "x-azure-", "x-arr-", "x-varnish", "x-envoy-", "l5d-",
}

// passedOn is a header by which a proxy shows, "" if there is none.
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

// foreign says why a request is not from a program of this machine, "" if it is.
func foreign(p Peer) string {
	if !p.Remote.Addr().Unmap().IsLoopback() {
		if !p.Remote.IsValid() {
			return "this request came over no network address"
		}
		return "this request came from " + p.Remote.Addr().String()
	}
	if name := p.passedOn(); name != "" {
		return fmt.Sprintf("this request came through a proxy (header %.80s)", name)
	}
	if !loopbackHost(p.Host) {
		return fmt.Sprintf("this request is for the host %.80q, not for localhost", p.Host)
	}
	for _, site := range p.values("Sec-Fetch-Site") {
		if site != "same-origin" && site != "none" {
			return fmt.Sprintf("this request was sent by a page of another site (header Sec-Fetch-Site %.80q)", site)
		}
	}
	for _, origin := range p.values("Origin") {
		if !sameOrigin(origin, p.Host) {
			return fmt.Sprintf("this request was sent by a page of %.80q (header Origin)", origin)
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

// sameOrigin reports whether a page's origin is this server as the browser
// calls it.
func sameOrigin(origin, host string) bool {
	scheme, rest, _ := strings.Cut(origin, "://")
	return (scheme == "http" || scheme == "https") && strings.EqualFold(rest, host)
}
