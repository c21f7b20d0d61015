package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
	"github.com/mosel-serve/mosel/tensor"
)

// asProgram makes the test program mosel itself, for its children too.
const asProgram = "MOSEL_TEST_AS_PROGRAM"

func init() {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
}

// outside is mosel as it was just installed: in an empty directory, with nothing in
// its environment but what is given and the ONNX Runtime library that tests have.
func outside(ctx context.Context, t *testing.T, environment []string, args ...string) *exec.Cmd {
	t.Helper()
	at, err := (library.Config{NoInstall: true}).Find(ctx, nil)
	if err != nil {
		t.Skip("needs ONNX Runtime: run 'make setup'")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{asProgram + "=1", library.EnvironmentVariable + "=" + at.Path, "TMPDIR=" + t.TempDir()}, environment...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// until starts a program and waits for a line of its output; end ends it and returns
// what it wrote to standard error.
func until(t *testing.T, cmd *exec.Cmd, cancel func(), prefix string) (line string, end func() string) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() string {
		cancel()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // it was interrupted
		return log.String()
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), prefix) {
			return lines.Text(), end
		}
	}
	t.Fatalf("it never wrote a line that begins with %q:\n%s", prefix, end())
	return "", nil
}

// outsideTime bounds a test of a process.
const outsideTime = 2 * time.Minute

// TestServeOutsideAClone: an installed program serves the built-in example wherever
// it is started, whatever there is of a home.
func TestServeOutsideAClone(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "file") // nothing can be made in it, not even by root
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, environment := range map[string][]string{
		"empty home":              {"HOME=" + home},
		"no home":                 {},
		"home that is not usable": {"HOME=" + file, "XDG_CACHE_HOME=" + file},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), outsideTime)
			defer cancel()
			cmd := outside(ctx, t, environment, "serve", "--addr", "127.0.0.1:0", "--grpc-addr", "", "--metrics-addr", "")
			ready, end := until(t, cmd, cancel, "ready ")
			c, err := client.New(strings.Fields(ready)[1], client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			text := tensor.Tensor{Name: "text", DType: tensor.Uint8, Shape: tensor.Shape{1, 12}, Data: []byte("seven\x00\x00\x00\x00\x00\x00\x00")}
			answer, err := c.Infer(ctx, client.Request{Model: "digits", Inputs: []tensor.Tensor{text}})
			if err != nil || answer.Variant != "text" {
				t.Errorf("%+v, %v", answer, err)
			}
			if log := end(); !strings.Contains(log, "serving the built-in example") || !strings.Contains(log, "--models DIRECTORY") {
				t.Errorf("the log does not say so:\n%s", log)
			}
		})
	}
}

func TestDemoOutsideAClone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), outsideTime)
	defer cancel()
	cmd := outside(ctx, t, []string{"HOME=" + t.TempDir()}, "demo")
	line, end := until(t, cmd, cancel, "  -> policy all:")
	end()
	if !strings.Contains(line, "ran image, audio and text") {
		t.Errorf("%s", line)
	}
}

// TestModelsThatAreNotThere: only a command line that names no directory falls back
// to the example.
func TestModelsThatAreNotThere(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	for _, c := range []struct {
		args []string
		say  string
	}{
		{[]string{"serve", "--models", "nowhere"}, "nowhere"},
		{[]string{"serve", "--models", "models"}, "models"},
		{[]string{"serve", "mine"}, filepath.Join("models", "mine")},
		{[]string{"check", "mine"}, "mine"},
	} {
		if out, err := command(t, c.args...); err == nil || !strings.Contains(out+err.Error(), c.say) {
			t.Errorf("%q: %v, want %q", c.args, err, c.say)
		}
	}
}

func TestWhichModelsAreMeant(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	check := func(only []string, want bool) {
		t.Helper()
		dir, builtIn, err := servedDir(only)
		if err != nil || builtIn != want || !builtIn && dir != modelsDir {
			t.Errorf("%q: %s, %v, %v", only, dir, builtIn, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "digits", "mosel.yaml")); builtIn && err != nil {
			t.Error(err)
		}
	}
	check(nil, true)
	check([]string{"digits"}, true)
	check([]string{"mine"}, false)
	check([]string{"digits", "mine"}, false)
	if dir, err := packageDir(nil, ""); err != nil || !strings.HasSuffix(dir, "digits") {
		t.Errorf("%s, %v", dir, err)
	}
	if out, err := command(t, "example"); err != nil || !exists(filepath.Join(strings.TrimSpace(out), "samples", "seven.png")) {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := command(t, "plan", "digits", "--min-accuracy", "0.97"); err != nil || !strings.Contains(out, "image_text") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := command(t, "profile", "digits"); err == nil || !strings.Contains(err.Error(), "A clone of the repository has it") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := command(t, "check", "digits", "--no-run"); err != nil || !strings.Contains(out, "profile.npz does not exist") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.MkdirAll(filepath.Join(modelsDir, "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	check(nil, false) // its own models, even if none of them is right
	check([]string{"digits"}, true)
	if err := os.MkdirAll(filepath.Join(modelsDir, "digits"), 0o700); err != nil {
		t.Fatal(err)
	}
	check([]string{"digits"}, false)
	if dir, err := modelDir("digits"); err != nil || dir != filepath.Join(modelsDir, "digits") {
		t.Errorf("%s, %v", dir, err)
	}
	for _, name := range []string{"digits", "mine"} {
		if err := os.WriteFile(filepath.Join(modelsDir, name, "mosel.yaml"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{nil, {"mine"}} {
		want := filepath.Join(modelsDir, append(args, "digits")[0])
		if dir, err := demoDir(args, ""); err != nil || dir != want {
			t.Errorf("demo %q: %s, %v", args, dir, err)
		}
	}
}
