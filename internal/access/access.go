// Package access decides who may do what: whether a caller may have inferences
// run, and whether it may administer the server. REST and gRPC ask it alike, with
// what they know of a caller as plain values; it knows neither.
//
// # Rules without tokens
//
// Inference is open to everybody who can reach the server. Administration is
// for programs of this machine only: the connection must come from a loopback
// address and no header may say that a proxy passed the request on. The user of
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
	// Header is what came with the request; nil for nothing.
	Header Header
}

// Header finds the values of a header by its name as HTTP writes it
// ("X-Forwarded-For"): Get the first, "" if there is none, Values all, of which some
// may be empty. net/http's Header is one.
type Header interface {
	Get(name string) string
	Values(name string) []string
}

func (p Peer) header(name string) string {
	if p.Header == nil {
		return ""
	}
	return p.Header.Get(name)
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
	f := &followed[tokens]{what: "tokens", names: []string{tokensFile}, bytesMax: tokensBytesMax, make: makeTokens, log: log}
	if err := f.start(); err != nil {
		return nil, "", err
	}
	return &Guard{tokens: f}, f.current().warning, nil
}

// HasTokens reports whether callers need a token.
func (g *Guard) HasTokens() bool { return g.tokens != nil }

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
		return Caller{Role: Infer}, nil
	}
	if reason := foreign(p); reason != "" {
		return Caller{}, slo.E("", slo.KindForbidden,
			"without tokens only programs of this machine may administer the server, and %s: start it with --tokens FILE and send a token of role admin", reason)
	}
	return Caller{Role: Admin}, nil
}

// proxyHeaders tell that a request was passed on, so that the other end of its
// connection is not who sent it.
var proxyHeaders = [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"}

// foreign says why a request is not from a program of this machine, "" if it is.
func foreign(p Peer) string {
	if !p.Remote.Addr().Unmap().IsLoopback() {
		if !p.Remote.IsValid() {
			return "this request came over no network address"
		}
		return "this request came from " + p.Remote.Addr().String()
	}
	for _, name := range proxyHeaders {
		if p.header(name) != "" {
			return "this request came through a proxy (header " + name + ")"
		}
	}
	if !loopbackHost(p.Host) {
		return fmt.Sprintf("this request is for the host %.80q, not for localhost", p.Host)
	}
	if site := p.header("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return fmt.Sprintf("this request was sent by a page of another site (header Sec-Fetch-Site %.80q)", site)
	}
	if origin := p.header("Origin"); origin != "" && !sameOrigin(origin, p.Host) {
		return fmt.Sprintf("this request was sent by a page of %.80q (header Origin)", origin)
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
