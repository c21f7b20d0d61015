package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// typed starts an interactive shell on a terminal and types lines. For each it returns
// what the shell has made of it: the line is typed up to a Tab, put behind an echo and
// sent.
func typed(t *testing.T, dir string, shell []string, lines []string) (became []string) {
	t.Helper()
	for _, program := range []string{"script", shell[0]} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	cmd := exec.CommandContext(t.Context(), "script", "--quiet", "--echo", "never", "--command", strings.Join(shell, " "), os.DevNull)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PS1="+prompt, "TERM=dumb", "INPUTRC=/dev/null", "HISTFILE=", "PATH="+dir+":"+os.Getenv("PATH"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	shown := bufio.NewReader(out)
	await := func(end string) string {
		var text strings.Builder
		for !strings.HasSuffix(text.String(), end) {
			b, err := shown.ReadByte()
			if err != nil {
				t.Fatalf("waiting for %q: %v\n%s", end, err, text.String())
			}
			text.WriteByte(b)
		}
		return text.String()
	}
	send := func(text string) {
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
	}
	await(prompt)
	for _, line := range lines {
		// To the beginning of the line, and to its end. What is typed may be shown too, but not
		// with START and END in it.
		send(line + "\t\x01echo STA''RT \x05 EN''D\n")
		await("START")
		became = append(became, strings.TrimSpace(strings.TrimSuffix(await("END"), "END")))
		await(prompt)
	}
	send("exit\n")
	_, _ = io.Copy(io.Discard, shown) // to the end, or the shell may hang
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	return became
}

const prompt = "READY>"

// completable makes a directory with the program, a model and some files.
func completable(t *testing.T) string {
	t.Helper()
	mosel, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(mosel, filepath.Join(dir, "mosel")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"models/weather/mosel.yaml", "tok.yaml", "tok.txt", "seven.png"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// completed are lines and what Tab makes of them.
var completed = []struct{ line, want string }{
	{"mosel sta", "mosel status"},
	{"mosel serve --poli", "mosel serve --policy"},
	{"mosel serve --policy agg", "mosel serve --policy aggressive"},
	{"mosel serve --policy=agg", "mosel serve --policy=aggressive"},
	{"mosel infer digits --late d", "mosel infer digits --late drop"},
	{"mosel job sub", "mosel job submit"},
	{"mosel plan wea", "mosel plan weather"},
	{"mosel serve --tokens t", "mosel serve --tokens tok.yaml"},
	{"mosel infer digits --addr http://127.0.0.1:8000 --min-ac", "mosel infer digits --addr http://127.0.0.1:8000 --min-accuracy"},
	{"mosel infer digits --image se", "mosel infer digits --image seven.png"},
	{"mosel completion z", "mosel completion zsh"},
	{"mosel help exa", "mosel help example"},
}

// TestCompletionInBash types in a real bash, without the package bash-completion and,
// where it is installed, with it.
func TestCompletionInBash(t *testing.T) {
	dir := completable(t)
	setups := map[string]string{"alone": ""}
	if full := "/usr/share/bash-completion/bash_completion"; exists(full) {
		setups["with bash-completion"] = "source " + full + "\n"
	}
	for name, setup := range setups {
		t.Run(name, func(t *testing.T) {
			rc := filepath.Join(t.TempDir(), "rc")
			if err := os.WriteFile(rc, []byte(setup+"source <(mosel completion bash)\nbind 'set bell-style none'\nPS1='"+prompt+"'\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			checkCompleted(t, dir, []string{"bash", "--noprofile", "--rcfile", rc, "-i"})
		})
	}
}

func checkCompleted(t *testing.T, dir string, shell []string) {
	t.Helper()
	lines := make([]string, len(completed))
	for i, c := range completed {
		lines[i] = c.line
	}
	for i, got := range typed(t, dir, shell, lines) {
		if got != completed[i].want {
			t.Errorf("%q became %q, want %q", completed[i].line, got, completed[i].want)
		}
	}
}

// TestCompletionInFish asks fish what it would offer.
func TestCompletionInFish(t *testing.T) {
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Skip("fish is not installed")
	}
	dir := completable(t)
	for _, c := range completed[:5] {
		cmd := exec.CommandContext(t.Context(), fish, "--no-config", "--command", "mosel completion fish | source; complete --do-complete '"+c.line+"'")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		first, _, _ := strings.Cut(string(out), "\t")
		if want := c.want[strings.LastIndex(c.want, " ")+1:]; err != nil || strings.TrimSpace(first) != want {
			t.Errorf("%q: %v, fish offers\n%s", c.line, err, out)
		}
	}
}

// TestCompletionInZsh only checks that zsh can read the script and calls its function.
func TestCompletionInZsh(t *testing.T) {
	zsh, err := exec.LookPath("zsh")
	if err != nil {
		t.Skip("zsh is not installed")
	}
	dir := completable(t)
	cmd := exec.CommandContext(t.Context(), zsh, "-f", "-c", "autoload -U compinit && compinit -u -d "+dir+"/dump && source <(mosel completion zsh) && print ${_comps[mosel]}")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "_mosel" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestColours checks that only a terminal gets colours, and not if it or its user wants
// none.
func TestColours(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		t.Skip("script is not installed")
	}
	dir := completable(t)
	run := func(env string, program ...string) string {
		cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "NO_COLOR=", "TERM=xterm", env)
		out, _ := cmd.CombinedOutput() // the package in there is not valid
		if !strings.Contains(string(out), "fail") {
			t.Errorf("%s %q: %s", env, program, out)
		}
		return string(out)
	}
	const doctor = "./mosel doctor --no-run"
	terminal := []string{script, "--quiet", "--command", doctor, os.DevNull}
	for env, colours := range map[string]bool{"TERM=xterm": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		if got := strings.Contains(run(env, terminal...), "\x1b["); got != colours {
			t.Errorf("on a terminal with %s: colours %v", env, got)
		}
	}
	if strings.Contains(run("TERM=xterm", strings.Fields(doctor)...), "\x1b[") {
		t.Error("colours in a file")
	}
}
