package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/access"
)

// TestToken follows what the command prints: the entry in a file, the token in a
// header.
func TestToken(t *testing.T) {
	out, err := command(t, "token", "--name", "grader", "--role", "infer")
	if err != nil {
		t.Fatal(err)
	}
	token, rest, _ := strings.Cut(out, "\n")
	if !regexp.MustCompile(`^mosel_[A-Za-z0-9_-]{43}$`).MatchString(token) || strings.Contains(rest, token) {
		t.Errorf("it does not begin with a token, or prints it twice:\n%s", out)
	}
	entry := out[strings.Index(out, "tokens:\n"):]
	if caller, err := let(t, entry, token); err != nil || caller != (access.Caller{Name: "grader", Role: access.Infer}) {
		t.Errorf("%+v, %v, with the file\n%s", caller, err, entry)
	}
}

func TestTokenJSON(t *testing.T) {
	out, err := command(t, "token", "--name", "ops", "--role", "admin", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Token, Name, Role, SHA256 string }
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	caller, err := let(t, "tokens: [{name: "+got.Name+", role: "+got.Role+", sha256: "+got.SHA256+"}]", got.Token)
	if err != nil || caller != (access.Caller{Name: "ops", Role: access.Admin}) {
		t.Errorf("%+v, %v, of %s", caller, err, out)
	}
}

// let asks a guard with a tokens file whether the token may infer.
func let(t *testing.T, tokens, token string) (access.Caller, error) {
	t.Helper()
	g, _, err := access.New(file(t, "tokens.yaml", []byte(tokens)), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return access.Caller{}, err
	}
	return g.Check(access.Infer, access.Peer{Header: http.Header{"Authorization": {"Bearer " + token}}})
}

func TestTokenMistakes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--name", "a"}, "--name NAME --role infer|admin"},
		{[]string{"--name", "a", "--role", "root"}, `role "root" does not exist: use infer or admin`},
		{[]string{"--name", "a b", "--role", "infer"}, `the name "a b" is not allowed: a name has 1 to 64 letters`},
		{[]string{"--name", "a", "--role", "infer", "more"}, "unknown command"},
	} {
		out, err := command(t, append([]string{"token"}, tt.args...)...)
		if !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), tt.want) || out != "" {
			t.Errorf("%q: %v, want a mistake on the command line with %q; printed %q", tt.args, err, tt.want, out)
		}
	}
}
