package conformance_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func TestGRPCInferAnswersAsRESTDoes(t *testing.T) {
	grpcModels(t, func(t *testing.T, m *model) {
		t.Run("raw contents", func(t *testing.T) { agree(t, m.plain(t), m.raw(t, m.request(1))) })
		t.Run("typed contents", func(t *testing.T) { agree(t, m.plain(t), m.raw(t, m.typed(t, 1))) })
		t.Run("the inputs in another order", func(t *testing.T) {
			r := m.request(1)
			slices.Reverse(r.Inputs)
			slices.Reverse(r.RawInputContents)
			agree(t, m.plain(t), m.raw(t, r))
		})
		t.Run("with the version", func(t *testing.T) {
			r := m.request(1)
			r.ModelVersion = m.version()
			got := m.raw(t, r)
			if v := got().ModelVersion; m.version() != "" && v != m.version() {
				t.Errorf("model_version is %q, want %q", v, m.version())
			}
			agree(t, m.plain(t), got)
		})
		t.Run("of several items", func(t *testing.T) {
			m.needsBatches(t)
			for _, out := range m.raw(t, m.request(3))().Outputs {
				if out.Shape[0] != 3 {
					t.Errorf("output %s of 3 items has shape %v", out.Name, out.Shape)
				}
			}
		})
	})
}

// TestGRPCInferAnswersInRawContents exists because tritonclient's as_numpy fails on
// typed contents.
func TestGRPCInferAnswersInRawContents(t *testing.T) {
	grpcModels(t, func(t *testing.T, m *model) {
		requests := map[string]*inferRequest{"raw": m.request(1)}
		if !m.halves(m.Inputs) {
			requests["typed"] = m.typed(t, 1)
		}
		for name, r := range requests {
			t.Run("to a request in "+name+" contents", func(t *testing.T) {
				got := m.server.call(t.Context(), r)
				m.replied(t, got)
				if len(got.response.GetOutputs()) == 0 || len(got.response.GetRawOutputContents()) != len(got.response.GetOutputs()) {
					t.Errorf("%d raw contents for %d outputs", len(got.response.GetRawOutputContents()), len(got.response.GetOutputs()))
				}
				for _, out := range got.response.GetOutputs() {
					if out.GetContents() != nil {
						t.Errorf("output %s has typed contents too", out.GetName())
					}
				}
			})
		}
	})
}

// TestGRPCInferReadsTypedElementsExactly sends the limits of each datatype in typed and
// in raw contents.
func TestGRPCInferReadsTypedElementsExactly(t *testing.T) {
	grpcModels(t, func(t *testing.T, m *model) {
		m.server.needsStrict(t) // other servers' models may read such numbers as indices out of range
		for i, in := range m.Inputs {
			for _, text := range exactly[in.Datatype] {
				t.Run(in.Name+" "+text, func(t *testing.T) {
					v := fill(in, 1)
					raw := exactBytes(t, in.Datatype, text)
					for k := range v.raw {
						v.raw[k] = raw
					}
					typed, asRaw := m.typed(t, 1), m.request(1)
					typed.Inputs[i].Contents = v.contents()
					asRaw.RawInputContents[i] = v.bytes()
					agree(t, m.raw(t, asRaw), m.raw(t, typed))
				})
			}
		}
	})
}

func TestGRPCInferAnswersTheOutputsThatAreNamed(t *testing.T) {
	grpcModels(t, func(t *testing.T, m *model) {
		var all []string
		for _, out := range m.Outputs {
			all = append(all, out.Name)
		}
		reversed := slices.Clone(all)
		slices.Reverse(reversed)
		if got := m.raw(t, m.request(1))().outputNames(); !slices.Equal(got, all) {
			t.Errorf("none are named: the outputs are %v, want %v", got, all)
		}
		for _, names := range [][]string{all[:1], all[len(all)-1:], all, reversed} {
			r := m.request(1)
			for _, name := range names {
				r.Outputs = append(r.Outputs, &wantedOutput{Name: name})
			}
			if got := m.raw(t, r)().outputNames(); !slices.Equal(got, names) {
				t.Errorf("the outputs are %v, %v were named", got, names)
			}
			agree(t, m.raw(t, m.request(1)), m.raw(t, r))
		}
	})
}

func TestGRPCInferEchoesTheID(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	for _, id := range []string{"42", "é ☃ 😀", strings.Repeat("i", 1000)} {
		r := m.request(1)
		r.Id = id
		if got := m.raw(t, r)(); got.ID != id {
			t.Errorf("id is %q, want %q", got.ID, id)
		}
	}
}

func TestGRPCInferIgnoresWhatItDoesNotKnow(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	t.Run("parameters of every kind", func(t *testing.T) {
		r := m.request(1)
		kinds := map[string]*parameter{"x_bool": paramBool(true), "x_int64": paramInt(-1), "x_string": paramText("é"), "x_double": paramDouble(0.5),
			"x_uint64": paramUint(math.MaxUint64), "priority": paramInt(1)}
		r.Parameters, r.Inputs[0].Parameters = kinds, kinds
		agree(t, m.plain(t), m.raw(t, r))
	})
	t.Run("fields, at every level", func(t *testing.T) {
		const number = 9000
		unknown := protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), []byte("what is this?"))
		unknown = protowire.AppendVarint(protowire.AppendTag(unknown, number+1, protowire.VarintType), 1)
		r := m.request(1)
		r.Parameters = map[string]*parameter{"x": paramInt(1)}
		r.Parameters["x"].ProtoReflect().SetUnknown(unknown)
		r.ProtoReflect().SetUnknown(unknown)
		for _, in := range r.Inputs {
			in.ProtoReflect().SetUnknown(unknown)
		}
		agree(t, m.plain(t), m.raw(t, r))
	})
	t.Run("metadata", func(t *testing.T) {
		agree(t, m.plain(t), m.raw(t, m.request(1), "x-unknown", "a", "authorization-hint", "b", "x-bytes-bin", "\x00\xff"))
	})
}

// wrongCall is a call that must be refused.
type wrongCall struct {
	name   string
	strict bool
	change func(t *testing.T, m *model, r *inferRequest) // a change of a valid request in raw contents
}

// wrongContents have wrong bytes or elements.
var wrongContents = []wrongCall{
	{"one raw content less", false, func(_ *testing.T, _ *model, r *inferRequest) { r.RawInputContents = r.RawInputContents[1:] }},
	{"one raw content more", false, func(_ *testing.T, _ *model, r *inferRequest) {
		r.RawInputContents = append(r.RawInputContents, r.RawInputContents[0])
	}},
	{"one byte less", false, func(_ *testing.T, _ *model, r *inferRequest) { r.RawInputContents[0] = r.RawInputContents[0][1:] }},
	{"one byte more", false, func(_ *testing.T, _ *model, r *inferRequest) {
		r.RawInputContents[0] = append(r.RawInputContents[0], 0)
	}},
	{"an empty raw content", false, func(_ *testing.T, _ *model, r *inferRequest) { r.RawInputContents[0] = nil }},
	{"neither raw nor typed contents", false, func(_ *testing.T, _ *model, r *inferRequest) { r.RawInputContents = nil }},
	{"raw and typed contents", false, func(_ *testing.T, m *model, r *inferRequest) {
		r.Inputs[0].Contents = fill(m.Inputs[0], 1).contents()
		if kind(m.Inputs[0].Datatype) == "half" {
			r.Inputs[0].Contents = &contents{Fp32Contents: make([]float32, count(r.Inputs[0].Shape))}
		}
	}},
	{"raw contents for all inputs but one, which has typed ones", true, func(t *testing.T, m *model, r *inferRequest) {
		if len(m.Inputs) < 2 {
			t.Skipf("model %s has one input", m.Name)
		}
		r.RawInputContents = r.RawInputContents[1:]
		r.Inputs[0].Contents = fill(m.Inputs[0], 1).contents()
	}},
	{"typed contents that lack an element", false, func(t *testing.T, m *model, r *inferRequest) {
		r.RawInputContents, r.Inputs = nil, m.typed(t, 1).Inputs
		v := fill(m.Inputs[0], 1)
		v.raw = v.raw[1:]
		r.Inputs[0].Contents = v.contents()
	}},
	{"typed contents with an element too many", false, func(t *testing.T, m *model, r *inferRequest) {
		r.RawInputContents, r.Inputs = nil, m.typed(t, 1).Inputs
		v := fill(m.Inputs[0], 1)
		v.raw = append(v.raw, v.raw[0])
		r.Inputs[0].Contents = v.contents()
	}},
	{"typed contents of another datatype", false, func(t *testing.T, m *model, r *inferRequest) {
		r.RawInputContents, r.Inputs = nil, m.typed(t, 1).Inputs
		v := fill(m.Inputs[0], 1)
		v.Datatype = map[bool]string{true: "FP64", false: "FP32"}[v.Datatype == "FP32"]
		for i := range v.raw {
			v.raw[i] = make([]byte, sizes[v.Datatype])
		}
		r.Inputs[0].Contents = v.contents()
	}},
	{"typed contents of two datatypes", true, func(t *testing.T, m *model, r *inferRequest) {
		r.RawInputContents, r.Inputs = nil, m.typed(t, 1).Inputs
		c := r.Inputs[0].Contents
		if c.Fp32Contents == nil {
			c.Fp32Contents = []float32{1}
		} else {
			c.Fp64Contents = []float64{1}
		}
	}},
	{"an element beyond the range of a small integer", true, func(t *testing.T, m *model, r *inferRequest) {
		at := slices.IndexFunc(m.Inputs, func(in tensorSpec) bool { return strings.Contains("INT8 INT16 UINT8 UINT16", in.Datatype) })
		if at < 0 {
			t.Skipf("the metadata of model %s gives no input of 8 or 16 bits: %v", m.Name, m.Inputs)
		}
		r.RawInputContents, r.Inputs = nil, m.typed(t, 1).Inputs
		if c := r.Inputs[at].Contents; c.IntContents != nil {
			c.IntContents[0] = 70000
		} else {
			c.UintContents[0] = 70000
		}
	}},
	{"a BOOL that is neither 0 nor 1", true, func(t *testing.T, m *model, r *inferRequest) {
		m.needsKind(t, "BOOL")
		r.RawInputContents[slices.IndexFunc(m.Inputs, func(in tensorSpec) bool { return in.Datatype == "BOOL" })][0] = 2
	}},
	{"a BYTES element longer than its bytes", false, func(t *testing.T, m *model, r *inferRequest) {
		m.needsKind(t, "BYTES")
		r.RawInputContents[slices.IndexFunc(m.Inputs, func(in tensorSpec) bool { return in.Datatype == "BYTES" })][0] = 255
	}},
	{"typed contents for FP16 or BF16", true, func(t *testing.T, m *model, r *inferRequest) {
		m.needsKind(t, "half")
		r.RawInputContents = nil
		for _, in := range r.Inputs {
			in.Contents = &contents{Fp32Contents: make([]float32, count(in.Shape))}
		}
	}},
}

// wrongTensors are inputs and outputs that the model does not have.
var wrongTensors = []wrongCall{
	{"no inputs", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs, r.RawInputContents = nil, nil }},
	{"an unknown input", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Name = "no_such_input" }},
	{"an input without a name", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Name = "" }},
	{"an input twice", false, func(_ *testing.T, _ *model, r *inferRequest) {
		r.Inputs, r.RawInputContents = append(r.Inputs, r.Inputs[0]), append(r.RawInputContents, r.RawInputContents[0])
	}},
	{"an unknown datatype", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Datatype = "FP31" }},
	{"no datatype", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Datatype = "" }},
	{"another datatype", false, func(_ *testing.T, m *model, r *inferRequest) {
		other := tensorSpec{m.Inputs[0].Name, map[bool]string{true: "FP64", false: "FP32"}[m.Inputs[0].Datatype == "FP32"], m.Inputs[0].Shape}
		r.Inputs[0].Datatype, r.RawInputContents[0] = other.Datatype, fill(other, 1).bytes()
	}},
	{"no shape", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Shape = nil }},
	{"one dimension more", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Shape = append(r.Inputs[0].Shape, 1) }},
	{"a negative dimension", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Shape[0] = -1 }},
	{"two negative dimensions", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Shape = []int64{-1, -1} }},
	{"no items", false, func(_ *testing.T, _ *model, r *inferRequest) {
		r.Inputs[0].Shape = append([]int64{0}, r.Inputs[0].Shape[1:]...)
		r.RawInputContents[0] = nil
	}},
	{"a shape of 2^64 elements", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Shape = []int64{1 << 32, 1 << 32} }},
	{"a shape of 2^126 elements", false, func(_ *testing.T, _ *model, r *inferRequest) {
		r.Inputs[0].Shape = []int64{math.MaxInt64, math.MaxInt64}
	}},
	{"far too many items", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Inputs[0].Shape[0] = 1 << 40 }},
	{"an unknown output", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Outputs = []*wantedOutput{{Name: "no_such_output"}} }},
	{"an output without a name", false, func(_ *testing.T, _ *model, r *inferRequest) { r.Outputs = []*wantedOutput{{}} }},
	{"an output twice", true, func(_ *testing.T, m *model, r *inferRequest) {
		r.Outputs = []*wantedOutput{{Name: m.Outputs[0].Name}, {Name: m.Outputs[0].Name}}
	}},
}

func TestGRPCInferRefusesContentsThatMakeNoSense(t *testing.T) { refuseCalls(t, wrongContents) }

func TestGRPCInferRefusesTensorsThatAreNotTheModels(t *testing.T) { refuseCalls(t, wrongTensors) }

func refuseCalls(t *testing.T, calls []wrongCall) {
	t.Helper()
	grpcModels(t, func(t *testing.T, m *model) {
		for _, tc := range calls {
			t.Run(tc.name, func(t *testing.T) {
				if tc.strict {
					m.server.needsStrict(t)
				}
				r := m.request(1)
				tc.change(t, m, r)
				// A tensor above a bound may be refused as too large before it is found
				// wrong.
				m.server.failed(t, m.server.call(t.Context(), r).err, codes.InvalidArgument, codes.ResourceExhausted)
				m.server.readyGRPC(t)
			})
		}
		m.replied(t, m.server.call(t.Context(), m.request(1)))
	})
}

// padded returns a valid request of a given size: an unknown field fills it up.
func padded(m *model, size int64) *inferRequest {
	r := m.request(1)
	const number, overhead = 9000, 8 // tag and length of the field
	rest := size - int64(proto.Size(r)) - overhead
	r.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), make([]byte, rest)))
	return r
}

func TestGRPCMessagesMayBeLarge(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	t.Run("beyond the 4 MiB that grpc-go has by default", func(t *testing.T) {
		m.replied(t, m.server.call(t.Context(), padded(m, 5<<20)))
	})
	t.Run("up to a bound", func(t *testing.T) {
		m.server.needsBodyMax(t)
		m.replied(t, m.server.call(t.Context(), padded(m, m.server.bodyMax-1<<10)))
	})
	t.Run("and no further", func(t *testing.T) {
		m.server.needsBodyMax(t)
		m.server.failed(t, m.server.call(t.Context(), padded(m, m.server.bodyMax+1<<20)).err, codes.ResourceExhausted)
	})
	m.server.readyGRPC(t)
}

func TestGRPCCountsAreBounded(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	m.server.needsStrict(t)
	many := func(n int) *inferRequest {
		r := m.request(1)
		for len(r.Inputs) < n {
			r.Inputs, r.RawInputContents = append(r.Inputs, r.Inputs[0]), append(r.RawInputContents, r.RawInputContents[0])
		}
		return r
	}
	outputs := m.request(1)
	for range 65 {
		outputs.Outputs = append(outputs.Outputs, &wantedOutput{Name: m.Outputs[0].Name})
	}
	parameters := m.request(1)
	parameters.Parameters = map[string]*parameter{}
	for i := range 1000 {
		parameters.Parameters[fmt.Sprint("p", i)] = paramInt(1)
	}
	for name, r := range map[string]*inferRequest{"65 inputs": many(65), "65 outputs": outputs, "1000 parameters": parameters} {
		t.Run(name, func(t *testing.T) { m.server.failed(t, m.server.call(t.Context(), r).err, codes.ResourceExhausted) })
	}
	m.server.readyGRPC(t)
}

func TestGRPCMessagesMayBeCompressed(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	got, err := m.server.grpc.ModelInfer(t.Context(), m.request(1), grpc.UseCompressor(gzip.Name))
	m.server.implemented(t, err)
	agree(t, m.plain(t), func() result { return m.response(t, got) })
	t.Run("and a bound is one on what is uncompressed", func(t *testing.T) {
		m.server.needsBodyMax(t)
		_, err := m.server.grpc.ModelInfer(t.Context(), padded(m, m.server.bodyMax+1<<20), grpc.UseCompressor(gzip.Name))
		m.server.failed(t, err, codes.ResourceExhausted)
	})
	t.Run("with deflate, as tritonclient can", func(t *testing.T) {
		body := compression{name: "zlib"}.of(t, string(marshal(t, m.request(1))))
		content := frame([]byte(body))
		content[0] = 1 // marks it as compressed
		got, err := m.server.callByHand(t.Context(), content, "grpc-encoding: deflate")
		if err != nil {
			t.Fatal(err)
		}
		if got.code == codes.Unimplemented && !m.server.strict {
			m.server.implemented(t, status.Error(got.code, got.message))
		}
		response := got.response(t)
		agree(t, m.plain(t), func() result { return m.response(t, response) })
	})
	m.server.readyGRPC(t)
}
