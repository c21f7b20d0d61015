package access

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// peer makes a peer that connects from remote to host. Headers are "Name: value".
func peer(remote, host string, headers ...string) Peer {
	header := http.Header{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		header.Set(name, value)
	}
	addr, _ := netip.ParseAddrPort(remote)
	return Peer{Remote: addr, Host: host, Header: header}
}

func bearer(token string) Peer {
	return peer("192.0.2.7:40000", "mosel.example:8000", "Authorization: Bearer "+token)
}

func TestWithoutTokensInferenceIsForAll(t *testing.T) {
	for _, p := range []Peer{{}, peer("192.0.2.7:40000", "mosel.example", "Origin: https://evil.example", "X-Forwarded-For: 10.0.0.1"),
		peer("127.0.0.1:40000", "localhost", "Authorization: Bearer of-some-other-server")} {
		for need, want := range map[Role]Caller{Public: {Role: Public}, Infer: {Role: Infer}} {
			if got, err := new(Guard).Check(need, p); err != nil || got != want {
				t.Errorf("%v for %+v: %+v, %v", need, p, got, err)
			}
		}
	}
}

// TestWithoutTokensAdminIsForThisMachine has each way in which a request may come from
// elsewhere although it arrives on loopback.
func TestWithoutTokensAdminIsForThisMachine(t *testing.T) {
	const local, host = "127.0.0.1:40000", "localhost:8000"
	for _, tt := range []struct {
		name string
		peer Peer
		want string // in the refusal; "": accepted
	}{
		{"curl", peer(local, host), ""},
		{"another loopback address", peer("127.8.8.8:1", host), ""},
		{"IPv6", peer("[::1]:40000", "[::1]:8000"), ""},
		{"IPv4 in IPv6", peer("[::ffff:127.0.0.1]:40000", "127.0.0.1:8000"), ""},
		{"a host without port", peer(local, "127.0.0.1"), ""},
		{"an IPv6 host without port", peer(local, "[::1]"), ""},
		{"a name in capitals", peer(local, "LOCALHOST:8000"), ""},
		{"no lookup of headers", Peer{Remote: netip.MustParseAddrPort(local), Host: host}, ""},
		{"a web page of this server", peer(local, host, "Origin: http://localhost:8000", "Sec-Fetch-Site: same-origin"), ""},
		{"typed into a browser", peer(local, host, "Sec-Fetch-Site: none"), ""},
		{"a web page of this server over TLS", peer(local, host, "Origin: https://LocalHost:8000"), ""},

		{"another machine", peer("192.0.2.7:40000", host), "is from 192.0.2.7"},
		{"another machine over IPv6", peer("[2001:db8::1]:40000", host), "is from 2001:db8::1"},
		{"no address", peer("@", host), "has no network address"},
		{"Forwarded", peer(local, host, "Forwarded: for=192.0.2.7"), "a proxy (header Forwarded)"},
		{"X-Forwarded-For", peer(local, host, "X-Forwarded-For: 127.0.0.1"), "a proxy (header X-Forwarded-For)"},
		{"X-Forwarded-Host", peer(local, host, "X-Forwarded-Host: mosel.example"), "a proxy (header X-Forwarded-Host)"},
		{"X-Real-Ip", peer(local, host, "X-Real-Ip: 192.0.2.7"), "a proxy (header X-Real-Ip)"},
		{"Via", peer(local, host, "Via: 1.1 squid"), "a proxy (header Via)"},
		{"rebound DNS", peer(local, "evil.example:8000"), `the Host of this request is "evil.example:8000", not localhost`},
		{"a name that begins as ours", peer(local, "localhost.evil.example:8000"), "the Host of this request is"},
		{"an address that begins as ours", peer(local, "127.0.0.1.evil.example"), "the Host of this request is"},
		{"ports to no end", peer(local, "localhost:8000:evil"), "the Host of this request is"},
		{"every address", peer(local, "0.0.0.0:8000"), "the Host of this request is"},
		{"another address of ours", peer(local, "192.0.2.1:8000"), "the Host of this request is"},
		{"no host", peer(local, ""), `the Host of this request is "", not localhost`},
		{"an origin of its own, then another", Peer{Remote: netip.MustParseAddrPort(local), Host: host, Header: http.Header{"Origin": {"http://" + host, "https://evil.example"}}}, "a web page of"},
		{"another site", peer(local, host, "Sec-Fetch-Site: cross-site"), "a web page of another site"},
		{"another port of this machine", peer(local, host, "Sec-Fetch-Site: same-site"), "a web page of another site"},
		{"another origin", peer(local, host, "Origin: https://evil.example"), `a web page of "https://evil.example"`},
		{"the origin of another port", peer(local, host, "Origin: http://localhost:3000"), "a web page of"},
		{"a sandbox", peer(local, host, "Origin: null"), `a web page of "null"`},
		{"an extension", peer(local, host, "Origin: moz-extension://localhost:8000"), "a web page of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := new(Guard).Check(Admin, tt.peer)
			switch {
			case tt.want == "" && (err != nil || got != Caller{Role: Admin}):
				t.Errorf("%+v, %v", got, err)
			case tt.want != "" && (slo.KindOf(err) != slo.KindForbidden || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "--tokens FILE")):
				t.Errorf("%+v, %v; want a refusal that says %q and how to allow it", got, err, tt.want)
			case tt.want != "" && got != Caller{}:
				t.Errorf("refused, and yet %+v", got)
			}
		})
	}
}

// TestProxyHeaders has every header that proxies add, in every spelling that a
// transport may pass on, with a value, empty, and empty before another value: its
// presence is enough.
func TestProxyHeaders(t *testing.T) {
	names := []string{"Forwarded", "Via", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded-Port",
		"X-Forwarded-Prefix", "X-Forwarded-Client-Cert", "X-Forwarded-Scheme", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "Client-Ip", "True-Client-Ip",
		"Cf-Connecting-Ip", "CF-Ray", "Cf-Visitor", "Cdn-Loop", "Fastly-Client-Ip", "X-Envoy-External-Address", "x-envoy-internal", "X-Envoy-Attempt-Count",
		"X-Envoy-Original-Path", "X-Amzn-Trace-Id", "X-Amz-Cf-Id", "X-Original-Host", "X-Original-Url", "X-Original-Forwarded-For", "X-Appengine-Remote-Addr",
		"X-Azure-Ref", "X-Arr-Ssl", "Early-Data", "Client-Cert", "X-Ssl-Client-Verify", "L5d-Client-Id"}
	for _, name := range names {
		for _, spelling := range []string{http.CanonicalHeaderKey(name), strings.ToLower(name), strings.ToUpper(name), name, name + " "} {
			for _, values := range [][]string{{"127.0.0.1"}, {""}, {"", "192.0.2.7"}, {}, nil} {
				p := Peer{Remote: netip.MustParseAddrPort("127.0.0.1:40000"), Host: "localhost:8000", Header: map[string][]string{"Accept": {"*/*"}, spelling: values}}
				if got, err := new(Guard).Check(Admin, p); err == nil || slo.KindOf(err) != slo.KindForbidden || !strings.Contains(err.Error(), "a proxy (header "+spelling) {
					t.Errorf("%q: %q is let in as %+v, %v", spelling, values, got, err)
				}
			}
		}
	}
	for _, name := range []string{"Accept", "X-Mosel-Client", "Viable", "X-Forward", "Cf", "X-Request-Id", "Traceparent", ":authority", "user-agent", "X-Sslx"} {
		p := Peer{Remote: netip.MustParseAddrPort("127.0.0.1:40000"), Host: "localhost:8000", Header: map[string][]string{name: {"x"}}}
		if _, err := new(Guard).Check(Admin, p); err != nil {
			t.Errorf("%s is taken for a proxy's: %v", name, err)
		}
	}
}

// TestHostsOfALoopbackListener checks that without tokens a foreign page whose name
// resolves to this machine gets no answers from a server that listens only here.
func TestHostsOfALoopbackListener(t *testing.T) {
	inside, named, outside := Listener{Loopback: true, Host: "127.0.0.1"}, Listener{Loopback: true, Host: "Workstation.lan"}, Listener{Host: "0.0.0.0"}
	remote := netip.MustParseAddrPort("127.0.0.1:40000")
	_, entry := newToken(t, "a", Infer)
	withTokens := guard(t, "tokens: ["+entry.String()+"]")
	for _, tt := range []struct {
		at   Listener
		host string
		ok   bool
	}{
		{inside, "localhost:8000", true}, {inside, "LOCALHOST", true}, {inside, "127.0.0.1:8000", true}, {inside, "127.1.2.3", true}, {inside, "[::1]:8000", true},
		{inside, "", true}, // from a program that uses HTTP/1.0
		{inside, "evil.example:8000", false}, {inside, "evil.example", false}, {inside, "localhost.evil.example:8000", false}, {inside, "127.0.0.1.evil.example", false},
		{inside, "192.0.2.1:8000", false}, {inside, "0.0.0.0:8000", false}, {inside, "localhost:8000:evil", false},
		{named, "workstation.lan:8000", true}, {named, "workstation.lan", true}, {named, "evil.example", false}, {named, "localhost", true},
		{outside, "evil.example:8000", true}, {outside, "mosel.default.svc", true}, {outside, "10.0.0.7:8000", true}, {Listener{}, "anything", true},
	} {
		p := Peer{Remote: remote, Host: tt.host, Local: tt.at}
		if _, err := new(Guard).Check(Public, p); err != nil {
			t.Errorf("health for %q: %v", tt.host, err)
		}
		_, err := new(Guard).Check(Infer, p)
		if (err == nil) != tt.ok || err != nil && (slo.KindOf(err) != slo.KindForbidden || !strings.Contains(err.Error(), "--tokens FILE")) {
			t.Errorf("%+v, host %q: %v, want let in: %t", tt.at, tt.host, err, tt.ok)
		}
		if _, err := withTokens.Check(Infer, p); slo.KindOf(err) != slo.KindUnauthenticated {
			t.Errorf("with tokens, host %q: %v", tt.host, err)
		}
	}
	for at, want := range map[string]Listener{"127.0.0.1:0": {true, "127.0.0.1"}, "[::1]:0": {true, "::1"}, "localhost:0": {true, "localhost"}, ":0": {false, ""}, "0.0.0.0:0": {false, "0.0.0.0"}} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Log(err) // no IPv6
			continue
		}
		if got := ListenerAt(at, l.Addr()); got != want {
			t.Errorf("%s is %+v, want %+v", at, got, want)
		}
		l.Close()
	}
}

func TestACallWithoutARoleIsForNobody(t *testing.T) {
	for _, need := range []Role{0, Admin + 1} {
		if got, err := new(Guard).Check(need, peer("127.0.0.1:1", "localhost")); err == nil || slo.KindOf(err) != slo.KindInternal {
			t.Errorf("role %d: %+v, %v", need, got, err)
		}
	}
}

func TestTokensAndRoles(t *testing.T) {
	infer, inferEntry := newToken(t, "grader", Infer)
	admin, adminEntry := newToken(t, "ops", Admin)
	g := guard(t, "tokens:\n  - "+inferEntry.String()+"\n  - "+adminEntry.String()+"\n")
	if !g.HasTokens() || new(Guard).HasTokens() {
		t.Error("HasTokens is wrong")
	}
	const local, host = "127.0.0.1:40000", "localhost:8000"
	for _, tt := range []struct {
		name string
		need Role
		peer Peer
		want Caller
		kind slo.Kind
		says string
	}{
		{name: "health", need: Public, peer: Peer{}, want: Caller{Role: Public}},
		{name: "infer", need: Infer, peer: bearer(infer), want: Caller{"grader", Infer}},
		{name: "admin infers", need: Infer, peer: bearer(admin), want: Caller{"ops", Admin}},
		{name: "admin", need: Admin, peer: bearer(admin), want: Caller{"ops", Admin}},
		{name: "small letters", need: Infer, peer: peer(local, host, "Authorization: bearer  "+infer+" "), want: Caller{"grader", Infer}},
		{name: "behind a proxy", need: Admin, peer: peer(local, "x", "Authorization: Bearer "+admin, "Via: 1.1 proxy"), want: Caller{"ops", Admin}},

		{name: "infer as admin", need: Admin, peer: bearer(infer), kind: slo.KindForbidden, says: `"grader" has role infer, and this call needs role admin`},
		{name: "none", need: Infer, peer: peer(local, host), kind: slo.KindUnauthenticated, says: "needs a token"},
		{name: "none, as admin on this machine", need: Admin, peer: peer(local, host), kind: slo.KindUnauthenticated, says: "needs a token"},
		{name: "no headers", need: Infer, peer: Peer{}, kind: slo.KindUnauthenticated, says: "needs a token"},
		{name: "another scheme", need: Infer, peer: peer(local, host, "Authorization: Basic "+infer), kind: slo.KindUnauthenticated, says: "holds no bearer token"},
		{name: "no scheme", need: Infer, peer: peer(local, host, "Authorization: "+infer), kind: slo.KindUnauthenticated, says: "holds no bearer token"},
		{name: "scheme alone", need: Infer, peer: peer(local, host, "Authorization: Bearer "), kind: slo.KindUnauthenticated, says: "holds no bearer token"},
		{name: "wrong", need: Infer, peer: bearer(infer[:len(infer)-1] + "!"), kind: slo.KindUnauthenticated, says: "does not know the token"},
		{name: "the start of one", need: Infer, peer: bearer(infer[:20]), kind: slo.KindUnauthenticated, says: "does not know the token"},
		{name: "its hash", need: Infer, peer: bearer(inferEntry.SHA256), kind: slo.KindUnauthenticated, says: "does not know the token"},
		{name: "long", need: Infer, peer: bearer(infer + strings.Repeat("x", tokenBytesMax)), kind: slo.KindUnauthenticated, says: "at most 256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := g.Check(tt.need, tt.peer)
			if tt.says == "" {
				if err != nil || got != tt.want {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err == nil || slo.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) || got != (Caller{}) {
				t.Errorf("%+v, %v; want kind %v saying %q", got, err, tt.kind, tt.says)
			}
			if strings.Contains(err.Error(), infer[:20]) {
				t.Errorf("the refusal gives the token away: %v", err)
			}
		})
	}
}

func TestRolesHaveNames(t *testing.T) {
	for _, r := range []Role{Infer, Admin} {
		if got, err := ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%v is read back as %v, %v", r, got, err)
		}
	}
	for _, name := range []string{"", "none", "public", "root", "Admin"} {
		if r, err := ParseRole(name); err == nil {
			t.Errorf("a token may have the role %q: %v", name, r)
		}
	}
	if Role(9).String() != "unknown" {
		t.Error("what does not exist has a name")
	}
}

// TestCheckingCosts checks that a check allocates nothing, so that it adds no
// noticeable cost to a request.
func TestCheckingCosts(t *testing.T) {
	token, entry := newToken(t, "grader", Infer)
	withTokens := guard(t, "tokens: ["+entry.String()+"]")
	header := http.Header{"Authorization": {"Bearer " + token}, "Accept": {"*/*"}}
	local := netip.MustParseAddrPort("127.0.0.1:40000")
	for name, check := range map[string]func() error{
		"infer without tokens": func() error {
			_, err := new(Guard).Check(Infer, Peer{Remote: local, Host: "localhost:8000", Header: header})
			return err
		},
		"admin without tokens": func() error {
			_, err := new(Guard).Check(Admin, Peer{Remote: local, Host: "localhost:8000", Header: header})
			return err
		},
		"infer with tokens": func() error {
			_, err := withTokens.Check(Infer, Peer{Remote: local, Host: "localhost:8000", Header: header})
			return err
		},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := check(); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	token, entry := newToken(b, "grader", Infer)
	header := http.Header{"Authorization": {"Bearer " + token}, "Accept": {"*/*"}}
	p := Peer{Remote: netip.MustParseAddrPort("127.0.0.1:40000"), Host: "localhost:8000", Header: header}
	for _, bb := range []struct {
		name  string
		guard *Guard
		need  Role
	}{
		{"infer without tokens", new(Guard), Infer},
		{"admin without tokens", new(Guard), Admin},
		{"infer with tokens", guard(b, "tokens: ["+entry.String()+"]"), Infer},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bb.guard.Check(bb.need, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
