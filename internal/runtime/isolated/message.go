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
	kindRun                     // head: see runHead; then the inputs' and the given rows, one after the other
	kindCancel                  // head: run number
	kindLoaded                  // head: by variant, whether parts of it can run
	kindOutputs                 // head: see outputsHead; then the outputs and the kept tensors
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

// count reads how many of something follow, each of at least one byte.
func (f *fields) count() int {
	n := f.number(4)
	if n > uint64(len(f.head)) {
		f.err = errMessage
		return 0
	}
	return int(n)
}

// size reads the length of bytes that follow the head, and adds it to total.
func (f *fields) size(total *int) int {
	n := f.number(8)
	if n > tensorBytesMax || *total > tensorBytesMax-int(n) {
		f.err = errMessage
		return 0
	}
	*total += int(n)
	return int(n)
}

func (f *fields) value() modelpkg.Intermediate {
	unit, n := int(f.number(4)), f.count()
	name := string(f.head[:n])
	f.head = f.head[n:]
	return modelpkg.Intermediate{Unit: unit, Name: name}
}

func (f *fields) shape() (tensor.DType, tensor.Shape) {
	d := tensor.DType(f.number(1))
	shape := make(tensor.Shape, f.number(1))
	for i := range shape {
		shape[i] = int64(f.number(8))
	}
	return d, shape
}

func appendCount(head []byte, n int) []byte { return binary.LittleEndian.AppendUint32(head, uint32(n)) }

func appendValue(head []byte, v modelpkg.Intermediate) []byte {
	return append(appendCount(appendCount(head, v.Unit), len(v.Name)), v.Name...)
}

func appendShape(head []byte, t tensor.Tensor) []byte {
	head = append(head, byte(t.DType), byte(len(t.Shape)))
	for _, d := range t.Shape {
		head = binary.LittleEndian.AppendUint64(head, uint64(d))
	}
	return head
}

func appendSize(head, data []byte) []byte {
	return binary.LittleEndian.AppendUint64(head, uint64(len(data)))
}

// runHead is the head of a run: its number, the variant, how many items; whether the part
// is inner, how many bytes may be kept, and what; the inputs that are sent, with the bytes
// of each item; the given values, with type, shape and bytes of each row.
func runHead(m *modelpkg.Model, number uint32, part *runtime.Part, inputs []int) (head []byte, parts [][]byte) {
	head = appendCount(appendCount(appendCount(nil, int(number)), part.Variant), len(part.Items))
	inner := byte(0)
	if part.Inner {
		inner = 1
	}
	head = binary.LittleEndian.AppendUint64(append(head, inner), uint64(part.KeepBytesMax))
	head = appendCount(head, len(part.Keep))
	for _, value := range part.Keep {
		head = appendValue(head, value)
	}
	head = appendCount(head, len(inputs))
	for _, i := range inputs {
		head = appendCount(head, i)
		for _, item := range part.Items[:rows(m, i, len(part.Items))] { // an input without a batch is the same in all
			head, parts = appendSize(head, item[i]), append(parts, item[i])
		}
	}
	head = appendCount(head, len(part.Given))
	for _, g := range part.Given {
		head = appendShape(appendValue(head, g.Intermediate), g.Rows[0]) // the others have the same
		for _, row := range g.Rows {
			head, parts = appendSize(head, row.Data), append(parts, row.Data)
		}
	}
	return head, parts
}

// piece is where bytes that follow a head belong.
type piece struct {
	to   *[]byte
	size int
}

// readRun reads a run into a buffer, which grows. What the part has are views of that.
func readRun(r *bufio.Reader, m *modelpkg.Model, head []byte, buffer *[]byte) (number uint32, part runtime.Part, err error) {
	f := fields{head: head}
	number, part.Variant = uint32(f.number(4)), int(f.number(4))
	n := int(f.number(4))
	part.Inner, part.KeepBytesMax = f.number(1) != 0, int(f.number(8))
	if f.err != nil || part.Variant >= len(m.Variants) || n < 1 || n > m.Limits.BatchItemsMax {
		return 0, part, errMessage
	}
	for range f.count() {
		part.Keep = append(part.Keep, f.value())
	}
	part.Items = make([]runtime.Item, n)
	for k := range part.Items {
		part.Items[k] = make(runtime.Item, len(m.Inputs))
	}
	pieces, total := f.pieces(m, &part)
	if f.err != nil {
		return 0, part, errMessage
	}
	if len(*buffer) < total {
		*buffer = make([]byte, total)
	}
	data := (*buffer)[:total]
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, part, err
	}
	for _, p := range pieces {
		*p.to, data = data[:p.size:p.size], data[p.size:]
	}
	for i, in := range m.Inputs {
		for _, item := range part.Items[1:] {
			if in.Unbatched {
				item[i] = part.Items[0][i]
			}
		}
	}
	return number, part, nil
}

// pieces reads of a run which inputs and given rows follow, and makes room for them.
func (f *fields) pieces(m *modelpkg.Model, part *runtime.Part) (pieces []piece, total int) {
	n := len(part.Items)
	for range f.count() {
		i := int(f.number(4))
		if i >= len(m.Inputs) {
			f.err = errMessage
			return nil, 0
		}
		for row := range rows(m, i, n) {
			pieces = append(pieces, piece{&part.Items[row][i], f.size(&total)})
		}
	}
	for range f.count() {
		g := runtime.Given{Intermediate: f.value(), Rows: make([]tensor.Tensor, n)}
		d, shape := f.shape()
		for row := range g.Rows {
			g.Rows[row] = tensor.Tensor{Name: g.Name, DType: d, Shape: shape}
			pieces = append(pieces, piece{&g.Rows[row].Data, f.size(&total)})
		}
		part.Given = append(part.Given, g)
	}
	return pieces, total
}

// rows is how often an input is sent for so many items.
func rows(m *modelpkg.Model, input, items int) int {
	if m.Inputs[input].Unbatched {
		return 1
	}
	return items
}

// outputsHead is the head of outputs: how many outputs, and how many kept tensors, one
// more than there are, 0 if there was no room for them; of each the type, the shape and
// the bytes.
func outputsHead(outputs, kept []tensor.Tensor) (head []byte, parts [][]byte) {
	head = appendCount(nil, len(outputs))
	if kept == nil {
		head = appendCount(head, 0)
	} else {
		head = appendCount(head, len(kept)+1)
	}
	for _, list := range [][]tensor.Tensor{outputs, kept} {
		for _, t := range list {
			head, parts = appendSize(appendShape(head, t), t.Data), append(parts, t.Data)
		}
	}
	return head, parts
}

// readOutputs reads outputs and kept tensors into memory of their own.
func readOutputs(r *bufio.Reader, m *modelpkg.Model, part *runtime.Part, head []byte) (outputs, kept []tensor.Tensor, err error) {
	f := fields{head: head}
	n, k := int(f.number(4)), int(f.number(4))-1
	outputsOf := m.OutputsOf(part.Variant)
	if f.err != nil || n != 0 && n != len(outputsOf) || k > 0 && k != len(part.Keep) {
		return nil, nil, errMessage
	}
	list := make([]tensor.Tensor, n+max(k, 0))
	sizes, total := make([]int, len(list)), 0
	for i := range list {
		d, shape := f.shape()
		if i < n {
			list[i].Name = outputsOf[i].Name
		} else {
			list[i].Name = part.Keep[i-n].Name
		}
		list[i].DType, list[i].Shape, sizes[i] = d, shape, f.size(&total)
		if f.err != nil || i < n && d != outputsOf[i].DType {
			return nil, nil, errMessage
		}
	}
	for i := range list {
		list[i].Data = make([]byte, sizes[i])
		if _, err := io.ReadFull(r, list[i].Data); err != nil {
			return nil, nil, err
		}
		if _, err := tensor.New(list[i].Name, list[i].DType, list[i].Shape, list[i].Data); err != nil {
			return nil, nil, errMessage
		}
	}
	if n > 0 {
		outputs = list[:n:n]
	}
	if k > 0 {
		kept = list[n:]
	}
	return outputs, kept, nil
}
