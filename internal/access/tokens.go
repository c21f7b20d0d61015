package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"go.yaml.in/yaml/v3"
)

const (
	// tokensMax bounds the tokens of a server. They are for programs and their
	// owners; for more users than this there should be a gateway with accounts.
	tokensMax = 1000
	// tokensBytesMax bounds their file: 256 bytes for each token, with room for comments.
	tokensBytesMax = 256 * tokensMax
	// tokenBytesMax bounds the token that a caller sends, so that the server never
	// hashes a whole header. Tokens of mosel token have 49 bytes.
	tokenBytesMax = 256
)

// tokenPrefix shows people, and programs that search for leaked secrets, what a token
// is for.
const tokenPrefix = "mosel_"

// tokenName is the form of a token's name, which appears in logs and metrics.
var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

const tokenNameRule = "1 to 64 letters, digits, dots, dashes, underscores and @, a letter or digit first"

// hash is the SHA-256 of a token.
type hash [sha256.Size]byte

// tokens are the tokens in a file.
type tokens struct {
	callers map[hash]Caller
	warning string
}

// check finds the caller's token and checks its role.
func (t *tokens) check(need Role, p Peer) (Caller, error) {
	const how = "send the header Authorization: Bearer TOKEN"
	header := p.header("Authorization")
	if header == "" {
		return Caller{}, slo.E("", slo.KindUnauthenticated, "this server needs a token: %s", how)
	}
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Caller{}, slo.E("", slo.KindUnauthenticated, "the header Authorization holds no bearer token: %s", how)
	}
	if len(token) > tokenBytesMax {
		return Caller{}, slo.E("", slo.KindUnauthenticated, "the token has %d bytes; a token has at most %d", len(token), tokenBytesMax)
	}
	caller, ok := t.callers[hashOf(token)]
	switch {
	case !ok:
		return Caller{}, slo.E("", slo.KindUnauthenticated, "this server does not know the token")
	case caller.Role < need:
		return Caller{}, slo.E("", slo.KindForbidden, "the token %q has role %v, and this call needs role %v", caller.Name, caller.Role, need)
	}
	return caller, nil
}

// hashOf hashes a token of at most tokenBytesMax.
func hashOf(token string) hash {
	var room [tokenBytesMax]byte
	return sha256.Sum256(room[:copy(room[:], token)])
}

// makeTokens reads a tokens file. The error lists all mistakes.
func makeTokens(files []content) (*tokens, error) {
	file := files[0]
	r := &strictyaml.Report{File: file.name}
	var entries []tokenEntry
	if root := r.Document(file.text); root != nil {
		r.Mapping(root, "the file", []strictyaml.Field{
			strictyaml.Required("tokens", func(n *yaml.Node) {
				if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
					return // the last token was withdrawn: nobody may call
				}
				r.List(n, "tokens", tokensMax, func(n *yaml.Node) { entries = append(entries, readEntry(r, n)) })
			}),
		})
	}
	var names, hashes []strictyaml.Word
	for _, e := range entries {
		names, hashes = append(names, e.name), append(hashes, e.sha256)
	}
	r.Unique(names, "name")
	r.Unique(hashes, "sha256")
	if problems := r.Sorted(); len(problems) > 0 {
		return nil, &slo.Error{Kind: slo.KindInvalid, Err: problems}
	}
	t := &tokens{callers: make(map[hash]Caller, len(entries)),
		warning: file.openness("which reveals the names and roles of all tokens, and hashes by which a weak token can be guessed")}
	if len(entries) == 0 {
		t.warning = fmt.Sprintf("the list of tokens in %s is empty: nobody may call this server, except for health", file.name)
	}
	for _, e := range entries {
		t.callers[e.hash] = e.caller
	}
	return t, nil
}

// tokenEntry is a token as in the file.
type tokenEntry struct {
	name, sha256 strictyaml.Word
	caller       Caller
	hash         hash
}

func readEntry(r *strictyaml.Report, n *yaml.Node) tokenEntry {
	var e tokenEntry
	var role strictyaml.Word
	r.Mapping(n, "a token", []strictyaml.Field{
		strictyaml.Required("name", r.Into(&e.name, "name")),
		strictyaml.Required("role", r.Into(&role, "role")),
		strictyaml.Required("sha256", r.Into(&e.sha256, "sha256")),
	})
	e.caller.Name = e.name.Text
	if e.name.Given() && !tokenName.MatchString(e.name.Text) {
		r.At(e.name.Place, "the name %q is not allowed: a name has %s", strictyaml.Clip(e.name.Text, 80), tokenNameRule)
	}
	if r.OneOf(role, "role", Infer.String(), Admin.String()); role.Given() {
		e.caller.Role, _ = ParseRole(role.Text) // OneOf has reported an unknown role
	}
	if e.sha256.Given() {
		e.sha256.Text = strings.ToLower(e.sha256.Text) // so that Unique sees the same hash twice
		if sum, err := hex.DecodeString(e.sha256.Text); err != nil || len(sum) != len(e.hash) {
			r.At(e.sha256.Place, "sha256 must be %d hexadecimal digits, as mosel token prints them; this has %d characters",
				2*len(e.hash), len(e.sha256.Text))
		} else {
			e.hash = hash(sum)
		}
	}
	return e
}

// Entry is a token's entry in the tokens file.
type Entry struct {
	Name   string `json:"name"`
	Role   Role   `json:"role"`
	SHA256 string `json:"sha256"` // of the token
}

// String returns the entry as in the file.
func (e Entry) String() string {
	return fmt.Sprintf("{name: %q, role: %v, sha256: %s}", e.Name, e.Role, e.SHA256)
}

// NewToken returns a random token and its entry.
func NewToken(name string, role Role) (token string, entry Entry, err error) {
	if !tokenName.MatchString(name) {
		return "", Entry{}, slo.E("", slo.KindInvalid, "the name %.80q is not allowed: a name has %s", name, tokenNameRule)
	}
	if role != Infer && role != Admin {
		return "", Entry{}, slo.E("", slo.KindInvalid, "a token cannot have role %v: use infer or admin", role)
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails: without a source of randomness the program ends
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	sum := hashOf(token)
	return token, Entry{Name: name, Role: role, SHA256: hex.EncodeToString(sum[:])}, nil
}
