package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/oip/inference"
)

// stream opens a stream for messages and bytes.
func (d piped) stream(ctx context.Context) grpc.ClientStream {
	d.Helper()
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := d.conn.NewStream(ctx, both, inference.GRPCInferenceService_ModelStreamInfer_FullMethodName, byHand())
	if err != nil {
		d.Fatal(err)
	}
	return stream
}

// sends sends messages and ends the stream's requests.
func (d piped) sends(stream grpc.ClientStream, messages ...any) {
	d.Helper()
	for _, m := range messages {
		if err := stream.SendMsg(m); err != nil {
			d.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		d.Fatal(err)
	}
}

// answers reads a stream to its end.
func answers(stream grpc.ClientStream) (list []*inference.ModelStreamInferResponse, err error) {
	for {
		m := new(inference.ModelStreamInferResponse)
		if err := stream.RecvMsg(m); err != nil {
			return list, err
		}
		list = append(list, m)
	}
}

func withID(id string, q *inference.ModelInferRequest) *inference.ModelInferRequest {
	q.Id = id
	return q
}

// TestStreamAnswersInOrder has runs that end in a different order from their requests,
// with every way to fail among them.
func TestStreamAnswersInOrder(t *testing.T) {
	config := func(c *Config) { c.BodyBytesMax = 10_000 }
	overGRPC(t, setup{queueJobs: 10, config: config}, func(t *testing.T, d piped) {
		stream := d.stream(t.Context())
		unknown, many := question(nil, imageInput()), question(nil)
		unknown.ModelName = "other"
		for range 65 {
			many.Inputs = append(many.Inputs, imageInput())
		}
		d.sends(stream,
			withID("0", everyModality()),             // runs first
			withID("1", everyModality()),             // waits, which is allowed
			withID("2", question(nil, imageInput())), // waits too
			withID("3", unknown),                     // failed long ago
			[]byte("\xff\xff\xff no message"),        // 4
			withID("5", many),                        // 5
			withID("6", question(map[string]any{"min_accuracy": "0.96"}, append(textInputs(), imageInput())...)),
			withID("7", question(map[string]any{finalAsked: true}, imageInput())),
			withID("8", question(map[string]any{finalAsked: true, "deadline_ms": "soon"}, imageInput())),
		)
		got, err := answers(stream)
		if !errors.Is(err, io.EOF) || len(got) != 9 {
			t.Fatalf("%d answers, %v: want 9 and the end", len(got), err)
		}
		for i, want := range []struct {
			id     string
			fault  string
			status int64
			final  bool
		}{
			{id: "0"}, {id: "1"}, {id: "2"}, {id: "3", fault: `no model "other"`, status: 404}, {fault: "not a valid ModelInferRequest", status: 400},
			{id: "5", fault: "more than 64 inputs", status: 413}, {id: "6", fault: "the best is 0.95", status: 422}, {id: "7", final: true},
			{id: "8", fault: "deadline_ms", status: 400, final: true},
		} {
			m := got[i].GetInferResponse()
			if m.GetId() != want.id || !strings.Contains(got[i].GetErrorMessage(), want.fault) || (want.fault == "") != (got[i].GetErrorMessage() == "") ||
				m.GetParameters()["status"].GetInt64Param() != want.status || m.GetParameters()[finalTold].GetBoolParam() != want.final {
				t.Errorf("answer %d: %v, want %+v", i, got[i], want)
			}
			if outputs := len(m.GetOutputs()); (outputs == 1) != (want.fault == "") {
				t.Errorf("answer %d has %d outputs", i, outputs)
			}
		}
		if best := got[6].GetInferResponse().GetParameters()["best_accuracy"].GetStringParam(); best != "0.95" {
			t.Errorf("best_accuracy is %q, want 0.95", best)
		}
		if left := d.api.bodies.used.Load(); left != 0 {
			t.Errorf("%d bytes of the budget are still held", left)
		}
	})
}

// TestStreamWindow sends far more requests than the window while none ends.
func TestStreamWindow(t *testing.T) {
	const window, requests = 3, 20
	release := make(chan struct{})
	hold := func(fake.Run) error { <-release; return nil }
	overGRPC(t, setup{queueJobs: 100, fail: hold, config: func(c *Config) { c.StreamWindow = window }}, func(t *testing.T, d piped) {
		stream := d.stream(t.Context())
		var messages []any
		for i := range requests {
			messages = append(messages, withID(fmt.Sprint(i), question(nil, imageInput())))
		}
		d.sends(stream, messages...)
		synctest.Wait()
		// One more request may be in progress: an answer that waits to be sent is
		// outside the window.
		if s, ok := d.engine.Status(); !ok || s.Queue.Jobs < window || s.Queue.Jobs > window+1 {
			t.Errorf("%d requests are under way, the window is %d", s.Queue.Jobs, window)
		}
		close(release)
		got, err := answers(stream)
		if !errors.Is(err, io.EOF) || len(got) != requests {
			t.Fatalf("%d answers, %v: want %d and the end", len(got), err, requests)
		}
		for i, m := range got {
			if m.GetInferResponse().GetId() != fmt.Sprint(i) || m.GetErrorMessage() != "" {
				t.Errorf("answer %d: %v", i, m)
			}
		}
	})
}

// TestStreamCancelled has a client that closes the connection in the middle.
func TestStreamCancelled(t *testing.T) {
	slow := func(r fake.Run) error {
		if r.Variant > 0 {
			time.Sleep(time.Second)
		}
		return nil
	}
	overGRPC(t, setup{queueJobs: 100, fail: slow}, func(t *testing.T, d piped) {
		ctx, cancel := context.WithCancel(t.Context())
		stream := d.stream(ctx)
		if err := stream.SendMsg(question(nil, imageInput())); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(new(inference.ModelStreamInferResponse)); err != nil {
			t.Fatal(err)
		}
		d.sends(stream, everyModality(), everyModality(), everyModality())
		synctest.Wait()
		cancel()
		if _, err := answers(stream); status.Code(err) != codes.Canceled {
			t.Errorf("%v, want CANCELLED", err)
		}
		time.Sleep(2 * time.Second) // the running request ends
		synctest.Wait()
		stacks := make([]byte, 1<<20)
		if text := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(text, "api.(*service)") {
			t.Errorf("goroutines of the stream live on:\n%s", text)
		}
		if s, ok := d.engine.Status(); !ok || s.Queue.Jobs != 0 {
			t.Errorf("%d requests are still under way", s.Queue.Jobs)
		}
		if left := d.api.bodies.used.Load(); left != 0 {
			t.Errorf("%d bytes of the budget are still held", left)
		}
	})
}

// TestStreamTooLargeMessageEndsIt checks a decision of grpc itself: it does not read
// the message, so it cannot read anything after it.
func TestStreamTooLargeMessageEndsIt(t *testing.T) {
	overGRPC(t, setup{queueJobs: 10, config: func(c *Config) { c.BodyBytesMax = 1000 }}, func(t *testing.T, d piped) {
		stream := d.stream(t.Context())
		if err := stream.SendMsg(question(nil, imageInput())); err != nil {
			t.Fatal(err)
		}
		if m := new(inference.ModelStreamInferResponse); stream.RecvMsg(m) != nil || m.GetErrorMessage() != "" {
			t.Errorf("the first answer: %v", m)
		}
		d.sends(stream, question(map[string]any{"x": strings.Repeat("x", 1000)}, imageInput()))
		if got, err := answers(stream); status.Code(err) != codes.ResourceExhausted || len(got) != 0 {
			t.Errorf("%v, %v: want RESOURCE_EXHAUSTED", got, err)
		}
	})
}

// TestStreamsOfOneServer has several clients at the same time.
func TestStreamsOfOneServer(t *testing.T) {
	overGRPC(t, setup{queueJobs: 100, instant: true}, func(t *testing.T, d piped) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				stream := d.stream(t.Context())
				d.sends(stream, question(nil, imageInput()), question(nil, textInputs()...))
				if got, err := answers(stream); !errors.Is(err, io.EOF) || len(got) != 2 || got[0].GetErrorMessage()+got[1].GetErrorMessage() != "" {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		all.Wait()
	})
}
