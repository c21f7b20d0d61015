package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// The test binary plays the child processes: role, then the arguments a server gets.
const roleVariable = "MOSEL_REPLAY_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "server":
		serveChild()
	case "broken":
		fmt.Fprintln(os.Stderr, "error: no such model")
		os.Exit(3)
	case "parent":
		parentOfChild()
	}
}

// serveChild is ready at once and ends on SIGTERM, or when asked for /die.
func serveChild() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() { <-stop; os.Exit(0) }()
	http.HandleFunc("/die", func(http.ResponseWriter, *http.Request) {
		fmt.Println("panic: out of luck")
		os.Exit(2)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("starting\nready http://%s\n", l.Addr())
	fmt.Println(http.Serve(l, nil))
}

// parentOfChild starts a server, says where, and waits to be killed.
func parentOfChild() {
	if err := os.Setenv(roleVariable, "server"); err != nil {
		panic(err)
	}
	s, err := StartServer(context.Background(), []string{os.Args[0]})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.URL)
	select {}
}

// listens tells whether something listens at a URL.
func listens(url string) bool {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func startChild(t *testing.T, role string) (*Server, error) {
	t.Helper()
	t.Setenv(roleVariable, role)
	s, err := StartServer(t.Context(), []string{os.Args[0]})
	if err == nil {
		t.Cleanup(s.Stop)
	}
	return s, err
}

func TestServerStartsAndStops(t *testing.T) {
	s, err := startChild(t, "server")
	if err != nil {
		t.Fatal(err)
	}
	if s.Died() != nil || !listens(s.URL) {
		t.Error("a running server is dead")
	}
	ctx, cancel := s.Watch(t.Context())
	defer cancel()
	s.Stop()
	s.Stop() // twice does no harm
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrServerDied) || listens(s.URL) {
		t.Errorf("after Stop: %v", context.Cause(ctx))
	}
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	_, err := startChild(t, "broken")
	if !errors.Is(err, ErrServerDied) || !strings.Contains(err.Error(), "error: no such model") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
	if _, err := StartServer(t.Context(), []string{"/nonexistent"}); err == nil {
		t.Error("a command that does not exist starts")
	}
}

func TestServerThatDiesEndsTheRun(t *testing.T) {
	s, err := startChild(t, "server")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := s.Watch(t.Context())
	defer cancel()
	if resp, err := http.Get(s.URL + "/die"); err == nil {
		resp.Body.Close()
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, ErrServerDied) || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("%v", err)
	}
}

func TestServerDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a child's life to its parent's")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), roleVariable+"=parent")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSpace(url), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	if _, err := child.Read(make([]byte, 1)); err == nil {
		t.Error("the server still answers")
	} // the read ends when the server's side is closed, which only its death does
}

func TestTailKeepsTheEnd(t *testing.T) {
	keep := &tail{most: 10}
	for _, s := range []string{"one\n", "two\nthree\n", "four\n"} {
		if _, err := keep.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if got := keep.lines(5); got != "hree\nfour" {
		t.Errorf("%q", got)
	}
	if got := keep.lines(1); got != "four" {
		t.Errorf("%q", got)
	}
}
