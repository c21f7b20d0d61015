package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/oip/inference"
)

// stub is a server that takes a time for every request.
type stub struct {
	takes    time.Duration
	answered atomic.Int64
	err      error
}

func (s *stub) open() (caller, error) { return s, nil }
func (s *stub) close()                {}
func (s *stub) exchange() error {
	time.Sleep(s.takes)
	s.answered.Add(1)
	return s.err
}

func TestClosedLoopCountsWhatIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: 10 * time.Millisecond}
		callers, err := openAll(s.open, 4)
		if err != nil {
			t.Fatal(err)
		}
		before := s.answered.Load()
		n, took, err := closedLoop(callers, time.Second)
		if err != nil || n != 400 || int64(n) != s.answered.Load()-before || took != time.Second {
			t.Errorf("%d answers in %v, %v; the server counted %d", n, took, err, s.answered.Load()-before)
		}
		s.err = errors.New("no")
		if _, _, err := closedLoop(callers, time.Second); err == nil {
			t.Error("errors of the server are not told")
		}
	})
}

func TestArrivalsKeepTheRate(t *testing.T) {
	at := arrivals(1000, 10*time.Second, 1)
	if n := len(at); n < 9_700 || n > 10_300 {
		t.Errorf("%d arrivals in 10 s at 1000/s", n)
	}
	for i := 1; i < len(at); i++ {
		if at[i] < at[i-1] {
			t.Fatalf("arrival %d before the one before it", i)
		}
	}
}

// TestOpenLoopCountsTheWait checks that a server which is too slow is seen to be:
// ten requests at once to a server that takes them one after the other.
func TestOpenLoopCountsTheWait(t *testing.T) {
	s := &stub{takes: 2 * time.Millisecond}
	took, err := openLoop(t.Context(), []caller{s}, make([]time.Duration, 10))
	if err != nil {
		t.Fatal(err)
	}
	if first, last := took[0], took[len(took)-1]; first < 2*time.Millisecond || last < 20*time.Millisecond {
		t.Errorf("the first took %v, the last %v", first, last)
	}
	s.err = errors.New("no")
	if _, err := openLoop(t.Context(), []caller{s}, make([]time.Duration, 3)); err == nil {
		t.Error("errors of the server are not told")
	}
}

func TestMiddle(t *testing.T) {
	if odd, even := middle([]float64{3, 1, 2}), middle([]float64{4, 1, 2, 3}); odd != 2 || even != 2 {
		t.Errorf("the middle is %v and %v", odd, even)
	}
}

func TestBareServersAnswerWithTheSizeAskedFor(t *testing.T) {
	s, err := listenHTTP(http.HandlerFunc(echo))
	if err != nil {
		t.Fatal(err)
	}
	body, err := askOnce(openREST(s.addr, restRequest("/321", nil, make([]byte, inputBytes))))
	if err != nil || len(body) != 321 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	if _, err := askOnce(openREST(s.addr, restRequest("/none", nil, nil))); err == nil {
		t.Error("an answer that is no success is taken for one")
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	rpc, err := listenGRPC()
	if err != nil {
		t.Fatal(err)
	}
	for version, size := range map[string]int{versionBrief: 40, versionEqual: inputBytes} {
		wire, err := proto.Marshal(&inference.ModelInferRequest{ModelVersion: version, RawInputContents: [][]byte{randomBytes()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := checkGRPC(openGRPC(rpc.addr, wire), make([]byte, size)); err != nil {
			t.Errorf("%s: %v", version, err)
		}
		if err := checkGRPC(openGRPC(rpc.addr, wire), []byte("other")); err == nil {
			t.Errorf("%s: a wrong answer is taken for a right one", version)
		}
	}
	if err := rpc.stop(); err != nil {
		t.Error(err)
	}
}

func TestReadAnswer(t *testing.T) {
	read := func(text string) (string, error) {
		var body []byte
		err := readAnswer(bufio.NewReader(strings.NewReader(text)), &body)
		return string(body), err
	}
	if body, err := read("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1"); err != nil || body != "abc" {
		t.Errorf("%q, %v", body, err)
	}
	for _, text := range []string{"", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "HTTP/1.1 200 OK\r\nContent-Length: 3"} {
		if body, err := read(text); err == nil {
			t.Errorf("%q is taken for the answer %q", text, body)
		}
	}
}

// TestDecodersRead checks that all decoders read all of what is compared, and
// none of them what lacks a number.
func TestDecodersRead(t *testing.T) {
	for _, p := range pictures() {
		for _, d := range decoders() {
			if err := d.read(p.body); err != nil {
				t.Errorf("%s of %s: %v", d.name, p.name, err)
			}
			if err := d.read([]byte(strings.Replace(string(p.body), ", ", " ", 1))); err == nil {
				t.Errorf("%s of %s: a number is missing and nobody says so", d.name, p.name)
			}
		}
	}
}

// TestVerdict checks that a bound that is missed is told, and fails.
func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		moselRate, moselP99 float64
		sound               bool
	}{{500, 2, true}, {499, 2, false}, {800, 2.1, false}} {
		of := [subjectsEnd]measurement{
			brief: {rate: 1000, p99: 1, requests: 10}, equal: {rate: 900, p99: 1, requests: 10},
			mosel: {rate: tc.moselRate, p99: tc.moselP99, requests: 10},
		}
		rounds := []round{{of: of}}
		r := &result{transport: &transport{name: "t", ratioMin: ratioMin, addedMax: addedMax}, closed: map[int][]round{}, open: rounds}
		for _, n := range closedCallers {
			r.closed[n] = rounds
		}
		var out strings.Builder
		if got := r.print(&out); got != tc.sound || strings.Contains(out.String(), "MISSED") == tc.sound {
			t.Errorf("%v: sound %v\n%s", tc, got, &out)
		}
	}
	var out strings.Builder
	if s := (speeds{{100, 101, 1, 1, 1}, {100, 99, 1, 1, 1}, {100, 99, 1, 1, 1}}); s.print(&out) {
		t.Error(fmt.Sprint("a slow decoder passes\n", out.String()))
	}
}
