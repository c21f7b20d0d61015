package conformance_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// byHand sends gRPC over plain HTTP/2: requests that grpc-go's client would not send,
// or would answer itself, such as one with a passed deadline.
func byHand() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: clientTimeout}
}

// frame returns a gRPC message with its prefix.
func frame(content []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(content))), content...)
}

// wireReply is the reply to a call by hand.
type wireReply struct {
	http    int
	code    codes.Code
	message string
	trailer http.Header // includes the header if the answer consists only of that
	body    []byte
}

// hangTimeout ends a call that a server does not answer because it waits for more
// bytes.
const hangTimeout = 3 * time.Second

// callByHand posts bytes to ModelInfer. It returns an error only for the connection or
// the stream.
func (s *target) callByHand(ctx context.Context, body []byte, headers ...string) (wireReply, error) {
	client := byHand()
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, hangTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.address.grpc+"/"+serviceName+"/ModelInfer", bytes.NewReader(body))
	if err != nil {
		return wireReply{}, err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	for _, line := range headers {
		name, text, _ := strings.Cut(line, ": ")
		r.Header.Set(name, text)
	}
	resp, err := client.Do(r)
	if err != nil {
		return wireReply{}, err
	}
	defer resp.Body.Close()
	got := wireReply{http: resp.StatusCode, code: codes.Unknown, trailer: http.Header{}}
	if got.body, err = io.ReadAll(resp.Body); err != nil {
		return wireReply{}, err
	}
	for _, from := range []http.Header{resp.Header, resp.Trailer} {
		maps.Copy(got.trailer, from)
	}
	if code, err := strconv.ParseUint(got.trailer.Get("Grpc-Status"), 10, 32); err == nil {
		got.code = codes.Code(code)
	}
	got.message = got.trailer.Get("Grpc-Message")
	return got, nil
}

// marshal returns a request as bytes.
func marshal(t *testing.T, r *inferRequest) []byte {
	t.Helper()
	content, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// response returns the message of a successful reply. A server may compress it as the
// request was compressed.
func (got wireReply) response(t *testing.T) *inferResponse {
	t.Helper()
	if got.http != http.StatusOK || got.code != codes.OK || len(got.body) < 5 {
		t.Fatalf("status %d, code %v, %q, %d bytes", got.http, got.code, got.message, len(got.body))
	}
	content := got.body[5:]
	if compressed := got.body[0] == 1; compressed {
		content = decompressed(t, answer{header: http.Header{"Content-Encoding": got.trailer["Grpc-Encoding"]}, body: content}).body
	}
	response := new(inferResponse)
	if err := proto.Unmarshal(content, response); err != nil {
		t.Fatal(err)
	}
	return response
}

func TestGRPCWireTakesACallByHand(t *testing.T) {
	grpcModels(t, func(t *testing.T, m *model) {
		agree(t, m.plain(t), func() result {
			got, err := m.server.callByHand(t.Context(), frame(marshal(t, m.request(1))), "grpc-timeout: 20S")
			if err != nil {
				t.Fatal(err)
			}
			return m.response(t, got.response(t))
		})
	})
}

// TestGRPCWireKeepsTheDeadline tests the server's own answer: clients end calls
// themselves when their deadline has passed.
func TestGRPCWireKeepsTheDeadline(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	for _, timeout := range []string{"1u", "1000n"} {
		t.Run(timeout, func(t *testing.T) {
			got, err := m.server.callByHand(t.Context(), frame(marshal(t, m.request(1))), "grpc-timeout: "+timeout)
			switch {
			case err != nil && gaveUp(err): // clients treat it as the same
			case err != nil:
				t.Error(err)
			case got.code == codes.ResourceExhausted && m.mosel(): // shed, because it could not be on time
				checkRetry(t, got.trailer.Get("x-mosel-retry-after-ms"))
			case got.code != codes.DeadlineExceeded:
				t.Errorf("code %v, %q, want DEADLINE_EXCEEDED", got.code, got.message)
			}
		})
	}
	m.server.readyGRPC(t)
}

// gaveUp reports whether the server ended a call by resetting its stream, as grpc-go
// does if a deadline passes before there is an answer.
func gaveUp(err error) bool { return strings.Contains(err.Error(), "CANCEL") }

// checkRetry checks the time after which a client should retry.
func checkRetry(t *testing.T, text string) {
	t.Helper()
	if ms, err := strconv.ParseInt(text, 10, 64); err != nil || ms < 1 {
		t.Errorf("x-mosel-retry-after-ms is %q, want whole milliseconds, at least 1", text)
	}
}

func TestGRPCWireRefusesWhatIsNoCall(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	sound := marshal(t, m.request(1))
	huge := binary.BigEndian.AppendUint32([]byte{0}, 0xffffffff)
	for name, tc := range map[string]struct {
		body    []byte
		headers []string
		want    []codes.Code // for strict servers
	}{
		"no message":                             {nil, nil, nil},
		"an empty message":                       {frame(nil), nil, []codes.Code{codes.InvalidArgument, codes.NotFound}},
		"a message that is no protobuf":          {frame([]byte("\xff\xff\xff hello")), nil, []codes.Code{codes.Internal, codes.InvalidArgument}},
		"a message with its last field cut off":  {frame(sound[:len(sound)-1]), nil, []codes.Code{codes.Internal, codes.InvalidArgument}},
		"a frame that ends too soon":             {frame(sound)[:len(sound)/2], nil, nil},
		"half a prefix":                          {[]byte{0, 0, 0}, nil, nil},
		"a frame of 4 GiB without its bytes":     {huge, nil, []codes.Code{codes.ResourceExhausted}},
		"two messages":                           {append(frame(sound), frame(sound)...), nil, nil},
		"a compression flag without compression": {append([]byte{1}, frame(sound)[1:]...), nil, []codes.Code{codes.Internal}},
		"an unknown compression":                 {append([]byte{1}, frame(sound)[1:]...), []string{"grpc-encoding: nonsense"}, []codes.Code{codes.Unimplemented}},
		"invalid gzip":                           {append([]byte{1}, frame(sound)[1:]...), []string{"grpc-encoding: gzip"}, []codes.Code{codes.Internal, codes.InvalidArgument}},
		"an invalid deadline":                    {frame(sound), []string{"grpc-timeout: soon"}, nil},
		"a JSON body with another content type":  {[]byte(`{"model_name":"x"}`), []string{"Content-Type: application/json"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := m.server.callByHand(t.Context(), tc.body, tc.headers...)
			if err == nil && got.http == http.StatusOK && got.code == codes.OK {
				if name != "two messages" { // the second may be left unread
					t.Errorf("it is taken: %d bytes of answer", len(got.body))
				}
			}
			if m.server.strict && tc.want != nil && (err != nil || !slices.Contains(tc.want, got.code)) {
				t.Errorf("code %v, %q, %v, want %v", got.code, got.message, err, tc.want)
			}
			m.server.readyGRPC(t)
		})
	}
	m.replied(t, m.server.call(t.Context(), m.request(1)))
}

func TestGRPCWireLivesWithOtherProtocols(t *testing.T) {
	subject.needsGRPC(t)
	for name, hello := range map[string]string{
		"HTTP/1.1":                     "GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n",
		"TLS":                          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"HTTP/2's preface and no more": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/2 with an invalid frame": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 100),
		"nothing":                      "",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := (&net.Dialer{Timeout: clientTimeout}).DialContext(t.Context(), "tcp", subject.address.grpc)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
				t.Fatal(err)
			}
			breakOff(conn, hello)
			_, _ = io.Copy(io.Discard, conn) // until the server closes the connection; a reset is fine too
			subject.readyGRPC(t)
		})
	}
}

// TestGRPCWireEmptyFramesEndTheConnection sends only frames of an unknown type, which
// HTTP/2 servers must ignore.
func TestGRPCWireEmptyFramesEndTheConnection(t *testing.T) {
	subject.needsGRPC(t)
	subject.models[0].needsMosel(t)
	conn, err := (&net.Dialer{Timeout: clientTimeout}).DialContext(t.Context(), "tcp", subject.address.grpc)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(clientTimeout)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	settings, empty := "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x00\xbb\x00\x00\x00\x00\x00"
	_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+settings)
	for sent := 0; err == nil; sent += 1000 {
		if sent > 1e6 {
			t.Fatalf("%d empty frames and no end", sent)
		}
		_, err = io.WriteString(conn, strings.Repeat(empty, 1000))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server neither reads on nor ends the connection: %v", err)
	}
	subject.readyGRPC(t)
}
