package isolated

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Messages have a kind (1 byte), the length of their head (4 bytes, little-endian), the
// head, and tensors' bytes, whose lengths the head says. The server sends load, run and
// cancel; a worker answers each load and run with one of the others.
type kind byte

const (
	kindLoad    kind = iota + 1 // head: loadMessage in JSON
	kindRun                     // head: run number, variant, items, bytes of an item by input; then the inputs, one after the other
	kindCancel                  // head: run number
	kindLoaded                  // no head
	kindOutputs                 // head: by output: type, rank, dimensions; then the outputs
	kindFailed                  // head: failedMessage in JSON
)

const (
	// headBytesMax bounds a head: a model has at most 1 MiB of mosel.yaml.
	headBytesMax = 16 << 20
	// tensorBytesMax bounds the tensors of a message: more is a broken worker.
	tensorBytesMax = 4 << 30
)

// loadMessage is what a worker loads.
type loadMessage struct {
	Model   *modelpkg.Model
	Options runtime.Options
}

// failedMessage is an error.
type failedMessage struct {
	Kind   slo.Kind
	Text   string
	Detail string
}

// failure is an error of a worker's.
type failure struct{ text, detail string }

// Error implements error.
func (f *failure) Error() string { return f.text }

// Detail implements runtime.Detailed.
func (f *failure) Detail() string { return f.detail }

// err is the error that was sent.
func (f *failedMessage) err() error {
	return slo.E("", f.Kind, "%w", &failure{f.Text, f.Detail})
}

// failed is an error as it is sent.
func failed(err error) *failedMessage {
	return &failedMessage{Kind: slo.KindOf(err), Text: err.Error(), Detail: runtime.Detail(err)}
}

// send writes a message. parts are not changed.
func send(w net.Conn, k kind, head []byte, parts ...[]byte) error {
	first := binary.LittleEndian.AppendUint32([]byte{byte(k)}, uint32(len(head)))
	buffers := append(net.Buffers{append(first, head...)}, parts...)
	_, err := buffers.WriteTo(w)
	return err
}

func sendJSON(w net.Conn, k kind, head any) error {
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	return send(w, k, text)
}

// decode reads a head that is JSON.
func decode[T any](text []byte) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(text, v)
}

// receive reads the kind and the head of a message.
func receive(r *bufio.Reader) (kind, []byte, error) {
	var first [5]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(first[1:])
	if n > headBytesMax {
		return 0, nil, fmt.Errorf("a head of %d bytes", n)
	}
	head := make([]byte, n)
	_, err := io.ReadFull(r, head)
	return kind(first[0]), head, err
}

// errMessage is the error of a head that makes no sense.
var errMessage = errors.New("a message that makes no sense")

// fields reads numbers of a head.
type fields struct {
	head []byte
	err  error
}

func (f *fields) number(bytes int) uint64 {
	if len(f.head) < bytes {
		f.err = errMessage
		return 0
	}
	var b [8]byte
	copy(b[:], f.head[:bytes])
	f.head = f.head[bytes:]
	return binary.LittleEndian.Uint64(b[:])
}

// runHead is the head of a run: the items agree in the sizes of their inputs.
func runHead(m *modelpkg.Model, number uint32, variant int, items []runtime.Item) (head []byte, parts [][]byte) {
	for _, n := range []uint32{number, uint32(variant), uint32(len(items))} {
		head = binary.LittleEndian.AppendUint32(head, n)
	}
	for _, i := range m.Variants[variant].Inputs {
		head = binary.LittleEndian.AppendUint64(head, uint64(len(items[0][i])))
		own := items
		if m.Inputs[i].Unbatched {
			own = items[:1] // the others have the same
		}
		for _, item := range own {
			parts = append(parts, item[i])
		}
	}
	return head, parts
}

// readRun reads a run into a buffer, which grows, and returns its items, which are
// views of that.
func readRun(r *bufio.Reader, m *modelpkg.Model, head []byte, buffer *[]byte) (number uint32, variant int, items []runtime.Item, err error) {
	f := fields{head: head}
	number, variant = uint32(f.number(4)), int(f.number(4))
	n := int(f.number(4))
	if f.err != nil || variant >= len(m.Variants) || n < 1 || n > m.Limits.BatchItemsMax {
		return 0, 0, nil, errMessage
	}
	inputs := m.Variants[variant].Inputs
	sizes := make([]int, len(inputs))
	total := 0
	for k, i := range inputs {
		size := f.number(8)
		if size > tensorBytesMax {
			return 0, 0, nil, errMessage
		}
		sizes[k] = int(size)
		total += int(size) * rows(m, i, n)
	}
	if f.err != nil || total > tensorBytesMax {
		return 0, 0, nil, errMessage
	}
	if len(*buffer) < total {
		*buffer = make([]byte, total)
	}
	data := (*buffer)[:total]
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, 0, nil, err
	}
	items = make([]runtime.Item, n)
	for k := range items {
		items[k] = make(runtime.Item, len(m.Inputs))
	}
	for k, i := range inputs {
		for row := range rows(m, i, n) {
			items[row][i], data = data[:sizes[k]:sizes[k]], data[sizes[k]:]
		}
		for row := rows(m, i, n); row < n; row++ {
			items[row][i] = items[0][i]
		}
	}
	return number, variant, items, nil
}

// rows is how often an input is sent for so many items.
func rows(m *modelpkg.Model, input, items int) int {
	if m.Inputs[input].Unbatched {
		return 1
	}
	return items
}

// outputsHead is the head of outputs.
func outputsHead(outputs []tensor.Tensor) (head []byte, parts [][]byte) {
	for _, out := range outputs {
		head = append(head, byte(out.DType), byte(len(out.Shape)))
		for _, d := range out.Shape {
			head = binary.LittleEndian.AppendUint64(head, uint64(d))
		}
		parts = append(parts, out.Data)
	}
	return head, parts
}

// readOutputs reads outputs into memory of their own.
func readOutputs(r *bufio.Reader, m *modelpkg.Model, head []byte) ([]tensor.Tensor, error) {
	f := fields{head: head}
	outputs := make([]tensor.Tensor, len(m.Outputs))
	for i, spec := range m.Outputs {
		d := tensor.DType(f.number(1))
		shape := make(tensor.Shape, f.number(1))
		for k := range shape {
			shape[k] = int64(f.number(8))
		}
		if f.err != nil || d != spec.DType {
			return nil, errMessage
		}
		outputs[i] = tensor.Tensor{Name: spec.Name, DType: d, Shape: shape}
	}
	for i := range outputs {
		elements, err := outputs[i].Shape.Elements()
		if err != nil || elements > tensorBytesMax/outputs[i].DType.Size() {
			return nil, errMessage
		}
		outputs[i].Data = make([]byte, elements*outputs[i].DType.Size())
		if _, err := io.ReadFull(r, outputs[i].Data); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}
