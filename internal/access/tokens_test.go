package access

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
)

func newToken(t testing.TB, name string, role Role) (string, Entry) {
	t.Helper()
	token, entry, err := NewToken(name, role)
	if err != nil {
		t.Fatal(err)
	}
	return token, entry
}

// write writes a file that only its owner may read, and replaces an existing one.
func write(t testing.TB, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// guard makes a guard with a tokens file.
func guard(t testing.TB, text string) *Guard {
	t.Helper()
	g, warning, err := New(write(t, filepath.Join(t.TempDir(), "tokens.yaml"), text), discard())
	if err != nil || warning != "" {
		t.Fatal(warning, err)
	}
	return g
}

func TestNewTokens(t *testing.T) {
	token, entry := newToken(t, "a.b-c_d@e9", Admin)
	again, _ := newToken(t, "x", Admin)
	if !strings.HasPrefix(token, "mosel_") || len(token) != len("mosel_")+43 || token == again {
		t.Errorf("%q, %q", token, again)
	}
	if caller, err := guard(t, "tokens: ["+entry.String()+"]").Check(Admin, bearer(token)); err != nil || caller != (Caller{"a.b-c_d@e9", Admin}) {
		t.Errorf("%+v, %v", caller, err)
	}
	for _, name := range []string{"", "-a", "a b", "a\n", `a"`, "é", strings.Repeat("a", 65)} {
		if _, _, err := NewToken(name, Infer); slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	for _, role := range []Role{0, Public, Admin + 1} {
		if _, _, err := NewToken("a", role); slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("role %v: %v", role, err)
		}
	}
	// Words that YAML would read as other types are names too.
	for _, name := range []string{"null", "true", "1.0", "1e9"} {
		token, entry := newToken(t, name, Infer)
		if caller, err := guard(t, "tokens: ["+entry.String()+"]").Check(Infer, bearer(token)); err != nil || caller.Name != name {
			t.Errorf("%s: %+v, %v", entry, caller, err)
		}
	}
}

// TestKnownHash checks that the file has the plain SHA-256 of the token, so that other
// tools can make it.
func TestKnownHash(t *testing.T) {
	// printf %s open-sesame | sha256sum
	const sum = "D7ECDF25EAF3DEBA0F2628771DBDD22D4138AB6CF38F91ED02A2CA0DEC7C8AB7"
	if caller, err := guard(t, "tokens:\n- name: ali\n  role: infer\n  sha256: "+sum).Check(Infer, bearer("open-sesame")); err != nil || caller.Name != "ali" {
		t.Errorf("%+v, %v", caller, err)
	}
}

func TestTokensFilesWithMistakes(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	many := "tokens:\n"
	for i := range tokensMax + 1 {
		many += fmt.Sprintf("- {name: t%d, role: infer, sha256: %064x}\n", i, i)
	}
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"1:1: the file is empty"}},
		{"no list", "tokens:", []string{"tokens is empty; it must be a list"}},
		{"a list of nothing", "tokens:\n  -\n", []string{"a token is empty; it must be a mapping"}},
		{"another key", "token:\n  - x", []string{`1:1: the file has no key "token"; did you mean "tokens"?`, "1:1: the file has no tokens"}},
		{"everything wrong", "tokens:\n" +
			"  - {name: a, role: infer, sha256: " + sum + "}\n" +
			"  - {name: a, role: amdin, sha256: " + strings.ToUpper(sum) + "}\n" +
			"  - {nmae: b, role: root, sha256: abc}\n" +
			"  - {name: a b, role: infer, sha256: " + strings.Repeat("xy", 32) + "}\n" +
			"  - {name: d, token: mosel_secret}\n" +
			"  - word\n",
			[]string{
				`3:12: the name "a" occurs twice; the first is on line 2`,
				`3:21: the role "amdin" is not supported; did you mean "admin"?`,
				`3:36: the sha256 "` + sum + `" occurs twice; the first is on line 2`,
				`4:6: a token has no key "nmae"; did you mean "name"?`,
				`4:5: a token has no name`,
				`4:21: the role "root" is not supported; known: infer, admin`,
				`4:35: sha256 must be 64 hexadecimal digits, as mosel token prints them; this has 3 characters`,
				`5:12: the name "a b" is not allowed: a name has 1 to 64 letters`,
				`5:38: sha256 must be 64 hexadecimal digits`,
				`6:15: a token has no key "token"`,
				`7:5: a token must be a mapping, not "word"`,
			}},
		{"too many", many, []string{"2:1: tokens has 1001 entries; at most 1000 are allowed"}},
		{"too large", strings.Repeat("#", tokensBytesMax+1), []string{"more than 256000 bytes"}},
		{"not YAML", "tokens: [", []string{"not YAML"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "tokens.yaml"), tt.text)
			g, _, err := New(file, discard())
			if g != nil || err == nil {
				t.Fatal("it is accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %q:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "mosel_secret") {
				t.Errorf("the error gives a token away: %v", err)
			}
			if kind := slo.KindOf(err); kind != slo.KindInvalid && kind != slo.KindTooLarge {
				t.Errorf("kind %v", kind)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	_, entry := newToken(t, "a", Infer)
	file := write(t, filepath.Join(t.TempDir(), "tokens.yaml"), "tokens: ["+entry.String()+"]")
	for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "", 0o644: "warning", 0o604: "warning", 0o620: "error", 0o602: "error", 0o666: "error"} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		g, warning, err := New(file, discard())
		switch want {
		case "error":
			if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "chmod go-w "+file) {
				t.Errorf("%o: %v", mode, err)
			}
		default:
			if err != nil || g == nil || (warning != "") != (want == "warning") || warning != "" && !strings.Contains(warning, "chmod o-r "+file) {
				t.Errorf("%o: %v, %q, %v", mode, g, warning, err)
			}
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here:", err)
	}
	for file, kind := range map[string]slo.Kind{dir: slo.KindInvalid, pipe: slo.KindInvalid, filepath.Join(dir, "none"): slo.KindNotFound} {
		if _, _, err := New(file, discard()); slo.KindOf(err) != kind || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if _, _, err := New(filepath.Join(dir, "none"), discard()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// clock is a time that a test advances.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// drive makes a watchedFile use the clock.
func (c *clock) drive(began *time.Time, now *func() time.Time) {
	c.now = time.Unix(1_800_000_000, 0)
	*began, *now = c.now, c.time
}

func TestTokensAreReadAgain(t *testing.T) {
	old, oldEntry := newToken(t, "old", Infer)
	fresh, freshEntry := newToken(t, "fresh", Admin)
	file := write(t, filepath.Join(t.TempDir(), "tokens.yaml"), "tokens: ["+oldEntry.String()+"]")
	var logged bytes.Buffer
	g, _, err := New(file, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var c clock
	c.drive(&g.tokens.began, &g.tokens.clock)
	check := func(when string, oldIn, freshIn bool, log string) {
		t.Helper()
		_, oldErr := g.Check(Infer, bearer(old))
		_, freshErr := g.Check(Infer, bearer(fresh))
		if (oldErr == nil) != oldIn || (freshErr == nil) != freshIn {
			t.Errorf("%s: the old token: %v; the fresh one: %v", when, oldErr, freshErr)
		}
		if text := logged.String(); strings.Count(text, "\n") > 1 || !strings.Contains(text, log) || (log == "") != (text == "") {
			t.Errorf("%s: the log says %q, want one line with %q", when, text, log)
		}
		logged.Reset()
	}
	check("at the start", true, false, "")
	write(t, file, "tokens: ["+freshEntry.String()+"]")
	check("before a second has passed", true, false, "")
	c.pass(lookEvery)
	check("after a second", false, true, "read again after a change")
	c.pass(lookEvery)
	check("when nothing changed", false, true, "")

	write(t, file, "tokens: [")
	c.pass(lookEvery)
	check("while it is being written", false, true, "not YAML")
	c.pass(lookEvery)
	check("while it stays wrong", false, true, "")
	write(t, file, "tokens: [{}]")
	c.pass(lookEvery)
	check("when it is wrong in another way", false, true, "has no name")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.pass(lookEvery)
	check("when it is gone", false, true, "no such file")
	c.pass(lookEvery)
	check("when it is still gone", false, true, "")
	write(t, file, "tokens: ["+oldEntry.String()+"]")
	c.pass(lookEvery)
	check("when it is back", true, false, "read again after a change")

	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	c.pass(lookEvery)
	check("when others may write it", true, false, "chmod go-w")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	c.pass(lookEvery)
	check("when they may not any more", true, false, "read again after a change")
}

// TestTheLastTokenIsWithdrawn checks that an empty list allows nobody, in a running
// server and in one that starts with it.
func TestTheLastTokenIsWithdrawn(t *testing.T) {
	token, entry := newToken(t, "last", Admin)
	file := write(t, filepath.Join(t.TempDir(), "tokens.yaml"), "tokens: ["+entry.String()+"]")
	var logged bytes.Buffer
	g, _, err := New(file, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var c clock
	c.drive(&g.tokens.began, &g.tokens.clock)
	if _, err := g.Check(Admin, bearer(token)); err != nil {
		t.Fatal(err)
	}
	write(t, file, "tokens: []")
	c.pass(lookEvery)
	for _, p := range []Peer{bearer(token), {}, peer("127.0.0.1:40000", "localhost:8000")} {
		if caller, err := g.Check(Infer, p); slo.KindOf(err) != slo.KindUnauthenticated {
			t.Errorf("%+v is let in as %+v, %v", p, caller, err)
		}
	}
	if _, err := g.Check(Public, Peer{}); err != nil {
		t.Errorf("health: %v", err)
	}
	if log := logged.String(); !strings.Contains(log, "read again after a change") || !strings.Contains(log, "nobody may call this server") {
		t.Errorf("the log says %q", log)
	}
	g, warning, err := New(file, discard())
	if err != nil || !g.HasTokens() || !strings.Contains(warning, "nobody may call this server") {
		t.Fatalf("a server that starts with it: %v, warning %q", err, warning)
	}
	if _, err := g.Check(Infer, peer("127.0.0.1:40000", "localhost:8000")); slo.KindOf(err) != slo.KindUnauthenticated {
		t.Errorf("a server that starts with it: %v", err)
	}
}

// TestStaleTokensAreReported checks that TokensStale says why the file cannot be read
// again, even if nobody calls.
func TestStaleTokensAreReported(t *testing.T) {
	_, entry := newToken(t, "a", Infer)
	good := "tokens: [" + entry.String() + "]"
	file := write(t, filepath.Join(t.TempDir(), "tokens.yaml"), good)
	g, _, err := New(file, discard())
	if err != nil {
		t.Fatal(err)
	}
	var c clock
	c.drive(&g.tokens.began, &g.tokens.clock)
	for _, step := range []struct{ text, want string }{{good, ""}, {"tokens: [", "not YAML"}, {"tokens: [{}]", "has no name"}, {good, ""}, {"", "the file is empty"}, {"tokens: []", ""}} {
		write(t, file, step.text)
		c.pass(lookEvery)
		if why := g.TokensStale(); !strings.Contains(why, step.want) || (why == "") != (step.want == "") {
			t.Errorf("%q: stale because of %q, want %q", step.text, why, step.want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.pass(lookEvery)
	if why := g.TokensStale(); !strings.Contains(why, "no such file") {
		t.Errorf("without the file: %q", why)
	}
	if why := new(Guard).TokensStale(); why != "" {
		t.Errorf("without tokens: %q", why)
	}
}

// TestTokensAreReadAgainUnderLoad has many concurrent callers while the file alternates
// between two lists of one token: each caller is answered by one of the lists.
func TestTokensAreReadAgainUnderLoad(t *testing.T) {
	dir := t.TempDir()
	var tokens [2]string
	var texts [2]string
	for i := range tokens {
		token, entry := newToken(t, fmt.Sprint("t", i), Infer)
		tokens[i], texts[i] = token, "tokens: ["+entry.String()+"]"
	}
	file := write(t, filepath.Join(dir, "tokens.yaml"), texts[0])
	g, _, err := New(file, discard())
	if err != nil {
		t.Fatal(err)
	}
	var c clock
	c.drive(&g.tokens.began, &g.tokens.clock)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 500 {
				for i, token := range tokens {
					caller, err := g.Check(Infer, bearer(token))
					if err == nil && caller.Name != fmt.Sprint("t", i) || err != nil && slo.KindOf(err) != slo.KindUnauthenticated {
						t.Errorf("token %d: %+v, %v", i, caller, err)
					}
				}
			}
		})
	}
	for i := range 50 {
		if err := os.Rename(write(t, filepath.Join(dir, "next"), texts[i%2]), file); err != nil {
			t.Fatal(err)
		}
		c.pass(lookEvery)
	}
	callers.Wait()
	c.pass(lookEvery)
	if _, err := g.Check(Infer, bearer(tokens[1])); err != nil {
		t.Errorf("the last list is not in force: %v", err)
	}
}

func FuzzTokensFile(f *testing.F) {
	_, entry, _ := NewToken("grader", Infer)
	for _, text := range []string{"", "tokens: [" + entry.String() + "]", "tokens:\n  - {name: a, role: admin, sha256: " + strings.Repeat("0", 64) + "}",
		"tokens: [[]]", "tokens: &a [*a]", "? {}\n: 1", "tokens:\n- name: !!binary aGk=", "---\n---\n", "tokens: [{name: null, role: infer, sha256: 1}]"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<14 {
			return // the reader bounds its file; a larger one is only slower
		}
		got, err := makeTokens([]content{{name: "tokens.yaml", text: text, mode: 0o600}})
		if err != nil {
			problems := strictyaml.Problems(nil)
			if !errors.As(err, &problems) || len(problems) == 0 || slo.KindOf(err) != slo.KindInvalid {
				t.Fatalf("not a list of problems: %v", err)
			}
			return
		}
		if len(got.callers) > tokensMax {
			t.Fatalf("%d tokens", len(got.callers))
		}
		names := map[string]bool{}
		for sum, c := range got.callers {
			if !tokenName.MatchString(c.Name) || c.Role != Infer && c.Role != Admin || names[c.Name] || sum == (hash{}) && !bytes.Contains(text, []byte(strings.Repeat("0", 64))) {
				t.Fatalf("%x: %+v", sum, c)
			}
			names[c.Name] = true
		}
	})
}
