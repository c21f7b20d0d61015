package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/tensor"
)

// grpcEcho is a minimal server of the protocol's service: it unmarshals the message and
// answers at once with a fixed number of bytes.
type grpcEcho struct {
	inference.UnimplementedGRPCInferenceServiceServer
}

// ModelInfer answers with as many raw bytes as the model's version says.
func (grpcEcho) ModelInfer(_ context.Context, q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	size := len(q.GetRawInputContents()[0])
	if q.GetModelVersion() == versionBrief {
		size = classes * tensor.FP32.Size()
	}
	return &inference.ModelInferResponse{
		ModelName: q.GetModelName(),
		Outputs: []*inference.ModelInferResponse_InferOutputTensor{
			{Name: "scores", Datatype: tensor.FP32.String(), Shape: []int64{1, int64(size / tensor.FP32.Size())}},
		},
		RawOutputContents: [][]byte{payload[:size]},
	}, nil
}

// The version of a model tells the echo server how much to answer.
const (
	versionBrief = "brief"
	versionEqual = "equal"
)

// grpcServer serves on a free port until stop.
type grpcServer struct {
	addr string
	grpc *grpc.Server
	done chan error
}

func listenGRPC() (*grpcServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &grpcServer{addr: l.Addr().String(), grpc: grpc.NewServer(), done: make(chan error, 1)}
	inference.RegisterGRPCInferenceServiceServer(s.grpc, grpcEcho{})
	go func() { s.done <- s.grpc.Serve(l) }()
	return s, nil
}

func (s *grpcServer) stop() error {
	s.grpc.Stop()
	return <-s.done
}

// grpcCaller is one connection with one call at a time, like those of openREST. The
// request is marshaled once and the answer is not unmarshaled, to keep the cost of the
// client low; grpc-go's own cost is already high.
type grpcCaller struct {
	conn    *grpc.ClientConn
	request []byte
	ctx     context.Context
	cancel  context.CancelFunc
}

// wireCodec sends and receives messages as they are on the wire: []byte and *[]byte.
type wireCodec struct{}

// Marshal implements encoding.CodecV2.
func (wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	request, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T is not a serialized message", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(request)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if keep, ok := v.(*[]byte); ok && keep != nil {
		*keep = data.Materialize()
	}
	return nil
}

// Name implements encoding.CodecV2.
func (wireCodec) Name() string { return "proto" }

// openGRPC opens connections to addr for one request.
func openGRPC(addr string, request []byte) opener {
	return func() (caller, error) {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wireCodec{})))
		if err != nil {
			return nil, err
		}
		c := &grpcCaller{conn: conn, request: request}
		c.ctx, c.cancel = context.WithTimeout(context.Background(), callerMax)
		return c, nil
	}
}

func (c *grpcCaller) close() {
	c.cancel()
	_ = c.conn.Close()
}

func (c *grpcCaller) exchange() error { return c.ask(nil) }

func (c *grpcCaller) ask(keep *[]byte) error {
	return c.conn.Invoke(c.ctx, inference.GRPCInferenceService_ModelInfer_FullMethodName, c.request, keep)
}

// overGRPC is 10 KB as raw contents.
func overGRPC(p pair, m *modelpkg.Model) (*transport, error) {
	data := randomBytes()
	request := func(version string) ([]byte, error) {
		return proto.Marshal(&inference.ModelInferRequest{ModelName: m.Name, ModelVersion: version,
			Inputs:           []*inference.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "UINT8", Shape: []int64{1, inputBytes}}},
			RawInputContents: [][]byte{data}})
	}
	aimed := [subjectsEnd]struct {
		version string
		addr    string
	}{brief: {versionBrief, p.bare.GRPC}, equal: {versionEqual, p.bare.GRPC}, mosel: {m.Version, p.mosel.GRPC}}
	t := &transport{name: "grpc", about: "10 KB input as raw contents", ratioMin: ratioMin, addedMax: addedMax, subjects: subjectsOf(p)}
	for i, aim := range aimed {
		wire, err := request(aim.version)
		if err != nil {
			return nil, err
		}
		t.subjects[i].open = openGRPC(aim.addr, wire)
	}
	return t, checkGRPC(t.subjects[mosel].open, fake.Row(m, 0, 0, runtime.Item{data}))
}

// checkGRPC sends one request and looks at its answer.
func checkGRPC(open opener, want []byte) error {
	c, err := open()
	if err != nil {
		return err
	}
	defer c.close()
	var wire []byte
	if err := c.(*grpcCaller).ask(&wire); err != nil {
		return err
	}
	var answer inference.ModelInferResponse
	if err := proto.Unmarshal(wire, &answer); err != nil {
		return err
	}
	if raw := answer.GetRawOutputContents(); len(raw) != 1 || !bytes.Equal(raw[0], want) {
		return errors.New("mosel's answer is wrong: " + answer.String())
	}
	return nil
}

// randomBytes are the 10 KB.
func randomBytes() []byte {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, inputBytes)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}
