package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/status"
)

// event is a server-sent event.
type event struct{ name, id, data string }

// listenTo reads the events of a stream until it ends or the test does. Headers are
// "Name: value".
func listenTo(t *testing.T, h http.Handler, headers ...string) (events <-chan event, ended <-chan struct{}, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/status/events", nil)
	r.Host, r.RemoteAddr = "localhost", "127.0.0.1:1234"
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer write.Close()
		h.ServeHTTP(&onWire{httptest.NewRecorder(), write}, r)
	}()
	list := make(chan event, 1000)
	go func() {
		defer close(list)
		var e event
		for lines := bufio.NewScanner(read); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				list <- e
				e = event{}
			}
		}
	}()
	return list, done, cancel
}

// onWire passes what a handler writes on at once.
type onWire struct {
	*httptest.ResponseRecorder
	to io.Writer
}

func (p *onWire) Write(b []byte) (int, error) { return p.to.Write(b) }

// received returns the events that have come.
func received(events <-chan event) (list []event) {
	synctest.Wait()
	for {
		select {
		case e, open := <-events:
			if !open {
				return list
			}
			list = append(list, e)
		default:
			return list
		}
	}
}

func TestStatusEvents(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		if w := f.call("POST", inferPath, ask(``, imageJSON)); w.Code != 200 {
			t.Fatal(w.Body)
		}
		time.Sleep(11 * time.Second) // virtual
		events, done, leave := listenTo(f.T, f)
		got := received(events)
		if len(got) != 3 || got[0].name != "sample" || got[1].name != "sample" || got[2].name != "status" || got[2].id != "" {
			t.Fatalf("at first: %+v", got)
		}
		var s status.Sample
		if err := json.Unmarshal([]byte(got[0].data), &s); err != nil || len(s.Models) != 1 || s.Models[0].Items.OnTime != 1 || s.Models[0].Variants["image"] != 1 {
			t.Errorf("%v %+v", err, s)
		}
		var now status.Status
		if err := json.Unmarshal([]byte(got[2].data), &now); err != nil || now.Server.Name != "mosel" || !now.Server.Ready {
			t.Errorf("%v %+v", err, now.Server)
		}
		time.Sleep(4 * time.Second)
		names := ""
		for _, e := range received(events) {
			names += e.name + " "
		}
		if names != "status status status sample status " {
			t.Errorf("in four seconds: %s", names)
		}
		leave()
		<-done

		// A client that comes back gets what it has missed.
		events, done, leave = listenTo(f.T, f, "Last-Event-ID: "+got[0].id)
		again := received(events)
		if len(again) != 3 || again[0] != got[1] {
			t.Errorf("after %s: %+v", got[0].id, again)
		}
		leave()
		<-done
		// An id from the future is from another clock: everything is sent.
		events, done, leave = listenTo(f.T, f, "Last-Event-ID: 99999999999999")
		if all := received(events); len(all) != 4 || all[0] != got[0] {
			t.Errorf("after an unknown id: %+v", all)
		}
		leave()
		<-done
	})
}

// TestStatusEventsEnd checks that a stream ends when the server drains, and that the
// number of streams has a bound.
func TestStatusEventsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, e := startAPI(t, setup{})
		h := a.REST()
		var ends []<-chan struct{}
		for range streamsMax {
			events, done, _ := listenTo(t, h)
			if got := received(events); len(got) != 1 {
				t.Fatalf("%+v", got)
			}
			ends = append(ends, done)
		}
		events, done, _ := listenTo(t, h)
		<-done
		if got := received(events); len(got) != 0 {
			t.Errorf("one stream too many: %+v", got)
		}
		a.Drain()
		for _, done := range ends {
			<-done
		}
		if n := a.events.open.Load(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
		if err := e.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestStatusEventsNeedAdmin(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		if w := f.call("GET", "/v1/status/events", "", "Origin: http://evil.example"); w.Code != 403 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// BenchmarkStatusEvent measures what the server does for all its streams every second.
func BenchmarkStatusEvent(b *testing.B) {
	a, e := startAPI(b, setup{instant: true})
	h := a.REST()
	for range 200 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", inferPath, strings.NewReader(ask(``, imageJSON))))
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
	back, err := a.current()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		a.events.status = nil
		b.SetBytes(int64(len(a.sharedStatus(arguments{backend: back}))))
		e.Timeline(time.Now())
	}
	b.StopTimer()
	if err := e.Drain(context.Background()); err != nil {
		b.Error(err)
	}
}
