package client_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

func TestInfer(t *testing.T) {
	sent := client.Request{Model: "a/b", Version: "3", ID: "7", Inputs: []tensor.Tensor{pixels(32)}, Outputs: []string{"scores"},
		MinAccuracy: 0.97, Deadline: 12500 * time.Millisecond, Late: client.LateRun, Modalities: []string{"image", "text"}, NoRecovery: true,
		Parameters: oip.Parameters{{Name: "x", Value: oip.Int(1)}}}
	f := &fake{infer: func(c call) (oip.Response, *client.Error) {
		want := map[string]oip.Value{"x": oip.Int(1), "min_accuracy": oip.Float(0.97), "late": oip.String("run"), "modalities": oip.String("image,text"), "recover": oip.Bool(false)}
		for name, value := range want {
			if got, ok := c.q.Parameters.Get(name); !ok || got != value {
				t.Errorf("parameter %s is %v, want %v", name, got, value)
			}
		}
		deadline, _ := c.q.Parameters.Get("deadline_ms")
		if ms, err := deadline.Float64(); err != nil || ms > 12500 || ms < 10000 {
			t.Errorf("deadline_ms is %v", deadline)
		}
		if c.model != "a/b" || c.version != "3" || c.q.ID != "7" || len(c.q.Parameters) != 6 || len(c.q.Inputs) != 1 || len(c.q.Inputs[0].Data) != 64 ||
			!slices.Equal(c.q.Outputs, []oip.Output{{Name: "scores", Form: oip.Binary}}) {
			t.Errorf("got %+v", c.q)
		}
		return oip.Response{ModelName: "a/b", ModelVersion: "3", ID: c.q.ID,
			Parameters: oip.Parameters{{Name: "variant", Value: oip.String("image:24,all:8")}, {Name: "modalities", Value: oip.String("image,text")},
				{Name: "expected_accuracy", Value: oip.Float(0.9712)}, {Name: "queue_us", Value: oip.Int(1500)},
				{Name: "compute_us", Value: oip.Int(250)}, {Name: "late", Value: oip.Bool(true)}, {Name: "job", Value: oip.String("n1-42")},
				{Name: "min_accuracy", Value: oip.String("0.97")}, {Name: "deadline_ms", Value: oip.Float(12499.5)}, {Name: "recovered", Value: oip.String("audio:0-3")}, {Name: "trusted", Value: oip.String("audio:2")}},
			Outputs: []tensor.Tensor{{Name: "scores", DType: tensor.Int8, Shape: tensor.Shape{32}, Data: make([]byte, 32)}}}, nil
	}}
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		got, err := c.Infer(t.Context(), sent)
		if err != nil {
			t.Fatal(err)
		}
		if got.Model != "a/b" || got.Version != "3" || got.ID != "7" || got.Variant != "image:24,all:8" || !slices.Equal(got.Modalities, []string{"image", "text"}) ||
			got.ExpectedAccuracy != 0.9712 || got.Queue != 1500*time.Microsecond || got.Compute != 250*time.Microsecond || !got.Late || got.Job != "n1-42" ||
			got.MinAccuracy != 0.97 || got.Deadline != 12499500*time.Microsecond || got.Recovered != "audio:0-3" || got.Trusted != "audio:2" {
			t.Errorf("got %+v", got)
		}
		if want := []client.VariantItems{{"image", 24}, {"all", 8}}; !slices.Equal(got.Mix(), want) {
			t.Errorf("mix %v, want %v", got.Mix(), want)
		}
		if out, ok := got.Output("scores"); !ok || out.Rows() != 32 {
			t.Errorf("output %+v", out)
		}
		if _, ok := got.Output("label"); ok {
			t.Error("there is an output that nobody sent")
		}
	})
}

func TestInferAsksForNothingByDefault(t *testing.T) {
	f := &fake{infer: func(c call) (oip.Response, *client.Error) {
		if len(c.q.Parameters) > 0 || len(c.q.Outputs) > 0 || c.q.OutputForm != oip.Binary || c.q.ID != "" || c.remaining != 0 || c.token != "" || c.key != "" {
			t.Errorf("got %+v", c)
		}
		return echo(c)
	}}
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		got, err := c.Infer(t.Context(), client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(2)}})
		if err != nil {
			t.Fatal(err)
		}
		if got.Mix() != nil {
			t.Errorf("a server that is not mosel has the mix %v", got.Mix())
		}
		got.Variant = "all"
		if want := []client.VariantItems{{"all", 2}}; !slices.Equal(got.Mix(), want) {
			t.Errorf("mix %v, want %v", got.Mix(), want)
		}
	})
}

// TestContextDeadlineIsSentAlong: over REST the earlier of the two deadlines is the
// parameter, over gRPC that of the context travels with the call.
func TestContextDeadlineIsSentAlong(t *testing.T) {
	for _, tt := range []struct {
		own, context time.Duration
	}{{0, time.Minute}, {time.Hour, time.Minute}, {time.Second, time.Minute}} {
		f := &fake{infer: func(c call) (oip.Response, *client.Error) {
			left := c.remaining
			if value, ok := c.q.Parameters.Get("deadline_ms"); ok {
				ms, err := value.Float64()
				if err != nil {
					t.Error(err)
				}
				own := time.Duration(ms * float64(time.Millisecond))
				if left == 0 || own < left {
					left = own
				}
			}
			want := tt.context
			if tt.own > 0 {
				want = min(want, tt.own)
			}
			if left > want || left < want/2 {
				t.Errorf("own %v, context %v: %v left at the server", tt.own, tt.context, left)
			}
			return echo(c)
		}}
		over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.context)
			defer cancel()
			if _, err := c.Infer(ctx, client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}, Deadline: tt.own}); err != nil {
				t.Error(err)
			}
		})
	}
}

// failures are errors of the server, and what kind they are of.
var failures = []struct {
	err       client.Error
	kind      error
	retryable bool
}{
	{client.Error{Status: 400, Message: "what?"}, client.ErrInvalid, false},
	{client.Error{Status: 401, Message: "who?"}, client.ErrUnauthenticated, false},
	{client.Error{Status: 403, Message: "no"}, client.ErrForbidden, false},
	{client.Error{Status: 404, Message: "where?"}, client.ErrNotFound, false},
	{client.Error{Status: 413, Message: "too much"}, client.ErrTooLarge, false},
	{client.Error{Status: 422, Message: "no", BestAccuracy: 0.91, Job: "j1"}, client.ErrInfeasible, false},
	{client.Error{Status: 429, Message: "full", RetryAfter: 1500 * time.Millisecond, Job: "j2"}, client.ErrOverloaded, true},
	{client.Error{Status: 499, Message: "gone"}, client.ErrCanceled, false},
	{client.Error{Status: 500, Message: "oh", Job: "j3"}, client.ErrFailed, false},
	{client.Error{Status: 501, Message: "not offered"}, client.ErrUnsupported, false},
	{client.Error{Status: 503, Message: "draining", RetryAfter: time.Second}, client.ErrUnavailable, true},
	{client.Error{Status: 504, Message: "late", Job: "j4"}, client.ErrDeadline, false},
}

// checkFailure checks that an error is what the server said.
func checkFailure(t *testing.T, i int, err error) {
	t.Helper()
	want := failures[i]
	got, ok := errors.AsType[*client.Error](err)
	if !ok || *got != want.err || got.Retryable() != want.retryable {
		t.Errorf("want %#v, got %#v of %v", want.err, got, err)
	}
	for _, other := range failures {
		if errors.Is(err, other.kind) != (other.kind == want.kind) {
			t.Errorf("%v is of the kind %q", err, other.kind)
		}
	}
	if !strings.HasPrefix(err.Error(), fmt.Sprintf("infer m: %d ", want.err.Status)) {
		t.Errorf("error prints %q", err)
	}
}

func TestErrors(t *testing.T) {
	for i := range failures {
		f := &fake{infer: func(call) (oip.Response, *client.Error) { return oip.Response{}, &failures[i].err }}
		over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
			_, err := c.Infer(t.Context(), client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}})
			checkFailure(t, i, err)
		})
	}
	if errors.Is(&client.Error{Status: 418}, client.ErrInvalid) || errors.Is(&client.Error{Status: 418}, nil) {
		t.Error("a status without a kind has one")
	}
}

func TestInferFailsBeforeSending(t *testing.T) {
	f := &fake{infer: func(c call) (oip.Response, *client.Error) {
		t.Error("something was sent")
		return echo(c)
	}}
	gone, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		for name, tt := range map[string]struct {
			ctx  context.Context
			r    client.Request
			want string
		}{
			"no model": {t.Context(), client.Request{}, "names no model"},
			"unsound tensor": {t.Context(), client.Request{Model: "m", Inputs: []tensor.Tensor{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{2}}}},
				"needs 2 elements"},
			"negative deadline": {t.Context(), client.Request{Model: "m", Deadline: -1}, "the deadline is -1ns: it must be above 0"},
			"percent":           {t.Context(), client.Request{Model: "m", MinAccuracy: 97}, "MinAccuracy is 97: an accuracy is between 0 and 1"},
			"no number":         {t.Context(), client.Request{Model: "m", MinAccuracy: math.NaN()}, "MinAccuracy is NaN"},
			"NaN":               {t.Context(), client.Request{Model: "m", Parameters: oip.Parameters{{Name: "p"}}}, `parameter "p" has no value`},
			"not UTF-8":         {t.Context(), client.Request{Model: "m", ID: "\xff"}, "UTF-8"},
			"context ended":     {gone, client.Request{Model: "m"}, context.DeadlineExceeded.Error()},
		} {
			if _, err := c.Infer(tt.ctx, tt.r); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
		}
	})
}

func TestQuestionsAboutTheServer(t *testing.T) {
	f := &fake{ready: true, models: []oip.RepositoryEntry{{Name: "digits", Version: "1", State: "READY"}, {Name: "broken", State: "UNAVAILABLE", Reason: "no graph"}},
		model: oip.ModelMetadata{Name: "digits", Versions: []string{"1"}, Inputs: []oip.TensorMetadata{{Name: "image", Datatype: "UINT8", Shape: []int64{-1, 28, 28}}},
			Outputs: []oip.TensorMetadata{}, Properties: map[string]string{"labels": "0,1"}}}
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		ctx := t.Context()
		if s, err := c.Server(ctx); err != nil || s.Name != "mosel" || s.Version != "1" {
			t.Errorf("server %+v, %v", s, err)
		}
		if ok, err := c.Ready(ctx); err != nil || !ok {
			t.Errorf("ready %v, %v", ok, err)
		}
		if list, err := c.Models(ctx); err != nil || !slices.Equal(list, f.models) {
			t.Errorf("models %+v, %v", list, err)
		}
		m, err := c.Metadata(ctx, "digits")
		if err != nil || len(m.Inputs) != 1 || m.Inputs[0].Datatype != "UINT8" || !slices.Equal(m.Inputs[0].Shape, []int64{-1, 28, 28}) || m.Properties["labels"] != "0,1" {
			t.Errorf("metadata %+v, %v", m, err)
		}
		if _, err := c.Metadata(ctx, "other"); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("metadata of an unknown model: %v", err)
		}
	})
}

func TestNotReady(t *testing.T) {
	for _, f := range []*fake{{ready: false}, {down: true}} {
		over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
			if ok, err := c.Ready(t.Context()); err != nil || ok {
				t.Errorf("ready %v, %v", ok, err)
			}
		})
	}
	for _, addr := range []string{"127.0.0.1:1", "grpc://127.0.0.1:1"} {
		c, err := client.New(addr, client.Options{GRPC: clientgrpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		_, ready := c.Ready(t.Context())
		_, infer := c.Infer(t.Context(), client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}})
		for _, err := range []error{ready, infer} {
			if _, ok := errors.AsType[*client.Error](err); ok || err == nil || !strings.HasSuffix(err.Error(), ": dial tcp 127.0.0.1:1: connect: connection refused") {
				t.Errorf("%s: a server that is not there: %v", addr, err)
			}
		}
		c.Close()
	}
}

func TestLoadAndUnload(t *testing.T) {
	f := &fake{admin: func(what, model string) *client.Error {
		if model == "digits" {
			return nil
		}
		return &client.Error{Status: http.StatusForbidden, Message: what + " " + model}
	}}
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		for what, ask := range map[string]func(context.Context, string) error{"load": c.Load, "unload": c.Unload} {
			if err := ask(t.Context(), "digits"); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if err := ask(t.Context(), "other"); !errors.Is(err, client.ErrForbidden) || !strings.Contains(err.Error(), what+" other") {
				t.Errorf("%s of another: %v", what, err)
			}
		}
	})
}

func TestTokenAndClientKey(t *testing.T) {
	f := &fake{infer: func(c call) (oip.Response, *client.Error) {
		if c.token != "Bearer s3cret" || c.key != "team a" {
			return oip.Response{}, &client.Error{Status: 401, Message: fmt.Sprintf("token %q of client %q", c.token, c.key)}
		}
		return echo(c)
	}}
	over(t, f, client.Options{Token: "s3cret", ClientKey: "team a"}, func(t *testing.T, c *client.Client) {
		if _, err := c.Infer(t.Context(), client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}}); err != nil {
			t.Error(err)
		}
	})
	over(t, f, client.Options{Token: "other"}, func(t *testing.T, c *client.Client) {
		if _, err := c.Infer(t.Context(), client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}}); !errors.Is(err, client.ErrUnauthenticated) {
			t.Error(err)
		}
	})
}

// held is a server that keeps every request until it is let go or given up.
func held() (f *fake, arrived chan call, let chan struct{}) {
	arrived, let = make(chan call, 100), make(chan struct{})
	return &fake{infer: func(c call) (oip.Response, *client.Error) {
		arrived <- c
		select {
		case <-let:
			return echo(c)
		case <-c.ctx.Done():
			return oip.Response{}, &client.Error{Status: 499, Message: "given up"}
		}
	}}, arrived, let
}

// TestContextEnds: the error is the context's, and the server hears of it.
func TestContextEnds(t *testing.T) {
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		f, arrived, _ := held()
		over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
			ctx, cancel := context.WithCancel(t.Context())
			if want == context.DeadlineExceeded {
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			defer cancel()
			under := c.Go(ctx, client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}})
			var at call
			if want == context.Canceled {
				at = <-arrived
				cancel()
			}
			_, err := under.Result()
			select {
			case at = <-arrived:
			default:
			}
			// The server may tell that the deadline passed before the client sees it.
			if late := want == context.DeadlineExceeded && errors.Is(err, client.ErrCanceled); !errors.Is(err, want) && !late {
				t.Errorf("%v, want %v", err, want)
			}
			if at.ctx != nil { // a deadline may pass before anything arrives
				<-at.ctx.Done()
			}
		})
	}
}

func TestCallsAreBounded(t *testing.T) {
	f, arrived, let := held()
	over(t, f, client.Options{ConnectionsMax: 2}, func(t *testing.T, c *client.Client) {
		r := client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}}
		calls := []*client.Call{c.Go(t.Context(), r), c.Go(t.Context(), r)}
		<-arrived
		<-arrived
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Infer(ctx, r); !errors.Is(err, context.Canceled) {
			t.Errorf("a third call whose context ended: %v", err)
		}
		urgent := r
		urgent.Deadline = time.Millisecond
		if _, err := c.Go(t.Context(), urgent).Result(); !errors.Is(err, client.ErrDeadline) || !strings.Contains(err.Error(), "while 2 other calls were under way") {
			t.Errorf("a third call whose deadline passed: %v", err)
		}
		third := make(chan *client.Call)
		go func() { third <- c.Go(t.Context(), r) }() // waits
		let <- struct{}{}
		calls = append(calls, <-third)
		let <- struct{}{}
		let <- struct{}{}
		for i, call := range calls {
			<-call.Done()
			if answer, err := call.Result(); err != nil || answer.Model != "m" {
				t.Errorf("call %d: %+v, %v", i, answer, err)
			}
		}
		if len(arrived) != 1 {
			t.Errorf("%d further requests arrived, want the third", len(arrived))
		}
		<-arrived
	})
}

func TestClose(t *testing.T) {
	f, arrived, let := held()
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		r := client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}}
		call := c.Go(t.Context(), r)
		<-arrived
		c.Close()
		c.Close() // does nothing
		for name, ask := range map[string]func() error{
			"Infer":  func() error { _, err := c.Infer(t.Context(), r); return err },
			"Go":     func() error { _, err := c.Go(t.Context(), r).Result(); return err },
			"Server": func() error { _, err := c.Server(t.Context()); return err },
			"Load":   func() error { return c.Load(t.Context(), "m") },
		} {
			if err := ask(); !errors.Is(err, client.ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
		let <- struct{}{}
		if _, err := call.Result(); err != nil {
			t.Errorf("the call that was under way: %v", err)
		}
	})
}

// clientGoroutines counts the goroutines that work for clients, by their stacks.
func clientGoroutines() int {
	var text strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&text, 2)
	count := 0
	for stack := range strings.SplitSeq(text.String(), "\n\n") {
		if strings.Contains(stack, "newHTTP2Client") || strings.Contains(stack, "(*persistConn)") || strings.Contains(stack, "client.(*") || strings.Contains(stack, "clientgrpc.(*") ||
			strings.Contains(stack, "newClientStreamWithParams") {
			count++
		}
	}
	return count
}

// TestNothingIsLeft: after Close the goroutines of a client end, whatever it did.
func TestNothingIsLeft(t *testing.T) {
	f := &fake{infer: func(c call) (oip.Response, *client.Error) {
		if c.model == "hold" {
			<-c.ctx.Done()
		}
		return echo(c)
	}}
	over(t, f, client.Options{ConnectionsMax: 8}, func(t *testing.T, c *client.Client) {
		before := clientGoroutines()
		ctx, cancel := context.WithCancel(t.Context())
		r := client.Request{Model: "m", Inputs: []tensor.Tensor{pixels(1)}}
		for range 20 {
			c.Go(ctx, r)
		}
		c.Go(ctx, client.Request{Model: "hold", Inputs: r.Inputs})
		whole, err := c.Stream(ctx, client.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		abandoned, err := c.Stream(ctx, client.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*client.Stream{whole, abandoned} {
			if err := s.Send(r); err != nil {
				t.Error(err)
			}
		}
		if _, err := whole.Recv(); err != nil {
			t.Error(err)
		}
		whole.Close()
		cancel() // ends the held call and the stream that nobody closed
		c.Close()
		for end := time.After(10 * time.Second); clientGoroutines() > before; runtime.Gosched() {
			select {
			case <-end:
				_ = pprof.Lookup("goroutine").WriteTo(t.Output(), 1)
				t.Fatalf("%d goroutines, %d before", clientGoroutines(), before)
			default:
			}
		}
	})
}

// TestConcurrentUse sends from many goroutines and checks that each gets its own
// answer.
func TestConcurrentUse(t *testing.T) {
	var served atomic.Int64
	f := &fake{infer: func(c call) (oip.Response, *client.Error) {
		served.Add(1)
		return echo(c)
	}}
	over(t, f, client.Options{ConnectionsMax: 3}, func(t *testing.T, c *client.Client) {
		served.Store(0)
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				in := pixels(100)
				for i := range in.Data {
					in.Data[i] = byte(worker)
				}
				for range 20 {
					got, err := c.Infer(t.Context(), client.Request{Model: "m", ID: fmt.Sprint(worker), Inputs: []tensor.Tensor{in}})
					if err != nil {
						t.Error(err)
						return
					}
					if got.ID != fmt.Sprint(worker) || !slices.Equal(got.Outputs[0].Data, in.Data) {
						t.Errorf("worker %d got the answer of %s", worker, got.ID)
					}
				}
			})
		}
		wg.Wait()
		if got := served.Load(); got != 160 {
			t.Errorf("%d served", got)
		}
	})
}
