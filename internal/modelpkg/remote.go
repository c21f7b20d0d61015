package modelpkg

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"go.yaml.in/yaml/v3"
)

// Remote says which model of which server of the Open Inference Protocol runs a
// variant or a stage, in place of graphs in the package.
type Remote struct {
	Server   string        // scheme://host:port; the scheme is grpc, grpcs, http or https
	Model    string        // its name on that server
	Version  string        // "": whichever is served
	Slots    int           // requests of the model under way there at a time, >= 1
	Timeout  time.Duration // of a request
	TokenEnv string        // the environment variable that holds a bearer token; "": none is sent
	CA       string        // PEM file inside Model.Dir with the authorities to trust; "": the system's
}

// Secure reports whether the server is spoken to over TLS.
func (r *Remote) Secure() bool {
	return strings.HasPrefix(r.Server, "grpcs:") || strings.HasPrefix(r.Server, "https:")
}

// GRPC reports whether the server is spoken to over gRPC.
func (r *Remote) GRPC() bool { return strings.HasPrefix(r.Server, "grpc") }

// Defaults and bounds of what a package says about another server.
const (
	remoteSlotsDefault   = 4
	remoteSlotsMax       = 256
	remoteTimeoutDefault = 10 * time.Second
	remoteTimeoutMax     = time.Hour
)

// RemotesOf returns the models of other servers that run a variant or stages of it, by
// step; nil for a step that runs on a graph of the package.
func (m *Model) RemotesOf(variant int) (remotes []*Remote) {
	v := m.Variants[variant]
	if v.Steps == nil {
		return []*Remote{v.Remote}
	}
	for _, step := range v.Steps {
		remotes = append(remotes, m.Stages[step.Stage].Remote)
	}
	return remotes
}

// ServersOf returns the addresses of the other servers that a variant needs, in ascending
// order; none: all of it runs here.
func (m *Model) ServersOf(variant int) (servers []string) {
	for _, r := range m.RemotesOf(variant) {
		if r != nil {
			servers = append(servers, r.Server)
		}
	}
	slices.Sort(servers)
	return slices.Compact(servers)
}

// HasGraphs reports whether a variant runs on graphs of the package, at least in part.
func (m *Model) HasGraphs(variant int) bool { return slices.Contains(m.RemotesOf(variant), nil) }

// remoteSpec is what a variant or a stage says of another server.
type remoteSpec struct {
	address  word
	slots    number
	timeout  word
	tokenEnv word
	ca       word
}

// remoteFields are the keys of a variant or a stage that runs on another server. places
// counts the keys that say where it runs.
func (r *report) remoteFields(s *remoteSpec, what string, places *int) []field {
	return []field{
		strictyaml.Optional("remote", func(n *yaml.Node) { *places++; s.address = r.Text(n, what) }),
		strictyaml.Optional("slots", func(n *yaml.Node) { s.slots = r.Whole(n, "slots", 1, remoteSlotsMax) }),
		strictyaml.Optional("timeout", r.Into(&s.timeout, "timeout")),
		strictyaml.Optional("token_env", r.Into(&s.tokenEnv, "token_env")),
		strictyaml.Optional("ca", r.Into(&s.ca, "ca")),
	}
}

var environmentForm = regexp.MustCompile(`^MOSEL_TOKEN_[A-Z0-9_]{1,64}$`)

// buildRemote reads where a variant or a stage runs: nil if on graphs of the package.
func (r *report) buildRemote(s remoteSpec, what string) *Remote {
	if !s.address.Given() {
		for key, place := range map[string]place{"slots": s.slots.Place, "timeout": s.timeout.Place, "token_env": s.tokenEnv.Place, "ca": s.ca.Place} {
			if place.Given() {
				r.At(place, "%s is for a %s with remote", key, what)
			}
		}
		return nil
	}
	remote := &Remote{Slots: remoteSlotsDefault, Timeout: r.remoteTimeout(s.timeout), TokenEnv: s.tokenEnv.Text, CA: r.inside(s.ca)}
	if s.slots.Given() {
		remote.Slots = int(s.slots.Value)
	}
	if s.tokenEnv.Given() && !environmentForm.MatchString(s.tokenEnv.Text) {
		r.At(s.tokenEnv.Place, "token_env must be the name of an environment variable that begins with MOSEL_TOKEN_, such as MOSEL_TOKEN_GPU; the token itself does not belong into a package")
	}
	if why := remote.locate(s.address.Text); why != "" {
		r.At(s.address.Place, "remote is %s; it must be grpc://HOST:PORT/MODEL or grpc://HOST:PORT/MODEL/VERSION, or the same with grpcs, http or https", why)
		return remote
	}
	if s.ca.Given() && !remote.Secure() {
		r.At(s.ca.Place, "ca is for a remote of grpcs or https; nothing is checked of one of plain text")
	}
	if s.tokenEnv.Given() && !remote.Secure() && !remote.here() {
		r.At(s.tokenEnv.Place, "a token would travel in plain text to another machine: use grpcs or https")
	}
	return remote
}

// locate takes an address apart and says what is wrong with it, "" if nothing is.
func (r *Remote) locate(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "not an address"
	case u.User != nil: // before anything is quoted
		return "an address with a user: credentials do not belong into a package, see token_env"
	case u.Scheme != "grpc" && u.Scheme != "grpcs" && u.Scheme != "http" && u.Scheme != "https":
		return "of the scheme " + strconv.Quote(strictyaml.Clip(u.Scheme, 20))
	case u.Hostname() == "":
		return "without a host"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "an address with more than host, port and path"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "of port " + strictyaml.Clip(port, 20)
		}
	}
	names := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	if names[0] == "" || len(names) > 2 || len(names) == 2 && names[1] == "" {
		return "of the path " + strconv.Quote(strictyaml.Clip(u.Path, 80))
	}
	r.Server, r.Model = u.Scheme+"://"+u.Host, names[0]
	if len(names) == 2 {
		r.Version = names[1]
	}
	return ""
}

// here reports whether the server is on this machine.
func (r *Remote) here() bool {
	u, err := url.Parse(r.Server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (r *report) remoteTimeout(w word) time.Duration {
	if !w.Given() {
		return remoteTimeoutDefault
	}
	d, err := time.ParseDuration(w.Text)
	if err != nil || d < time.Millisecond || d > remoteTimeoutMax {
		r.At(w.Place, "timeout must be a duration from 1ms to 1h, such as 500ms or 5s, not %q", strictyaml.Clip(w.Text, 40))
	}
	return d
}

// checkRemote adds the file of the authorities to those that the model consists of.
func (r *report) checkRemote(remote *Remote, of string, s remoteSpec, files *manifest) {
	if remote.CA == "" {
		return
	}
	if _, err := files.file(remote.CA); err != nil {
		r.unread(s.ca.Place, err, "%s: %s", of, remote.CA)
	}
}
