package server_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// soakClient is one client.
type soakClient struct {
	*soak
	random    *rand.Rand
	transport *http.Transport
	gzip      *gzip.Writer
	zlib      *zlib.Writer
	turn      int              // for choices that are not random
	conn      *grpc.ClientConn // nil: not needed yet
}

func newSoakClient(s *soak, stream uint64) *soakClient {
	return &soakClient{soak: s, random: rand.New(rand.NewPCG(s.seed, stream)), transport: &http.Transport{DisableCompression: true},
		gzip: gzip.NewWriter(io.Discard), zlib: zlib.NewWriter(io.Discard), turn: int(stream)}
}

// leave closes the client's connections.
func (c *soakClient) leave() {
	c.transport.CloseIdleConnections()
	if c.conn != nil {
		_ = c.conn.Close() // fails only the second time
	}
}

// onBehalf draws one of a thousand client names.
func (c *soakClient) onBehalf() string { return "client" + strconv.Itoa(c.random.IntN(1000)) }

func (c *soakClient) chance(percent int) bool { return c.random.IntN(100) < percent }

// question is a valid request, and what the client knows about it.
type question struct {
	model        soakModel
	items        []runtime.Item
	present      slo.Modalities
	floor        slo.Accuracy
	deadline     time.Duration // 0: none
	callDeadline bool          // the call itself has a deadline
	late         bool          // late rule run
	id           string
	form         oip.Form // of the inputs
	answer       oip.Form
}

// ask draws a question that any client might have.
func (c *soakClient) ask() *question {
	q := &question{model: c.models[c.random.IntN(len(c.models))], id: strconv.FormatUint(c.random.Uint64(), 36)}
	q.present = q.model.Variants[c.random.IntN(len(q.model.Variants))].Modalities
	n := 1
	if c.chance(50) {
		n += c.random.IntN(12)
	}
	wave := 2 * (1 + c.random.IntN(50)) // bytes of the input without a fixed length
	q.items = make([]runtime.Item, n)
	for i := range q.items {
		q.items[i] = make(runtime.Item, len(q.model.Inputs))
		for k, in := range q.model.Inputs {
			if !q.present.Has(1 << in.Modality) {
				continue
			}
			size := runtime.ItemBytes(in.Spec)
			if slices.Contains(in.Shape, -1) {
				size = wave
			}
			q.items[i][k] = c.data(in.DType, size)
		}
	}
	best := q.best().Float()
	floors := []float64{0, best - 0.1, best, best, min(best+0.005, 1)}
	q.floor, _ = slo.AccuracyOf(floors[c.random.IntN(len(floors))]) // always between 0 and 1
	q.deadline = []time.Duration{0, 0, 10 * time.Second, 50 * time.Millisecond, time.Millisecond, time.Microsecond}[c.random.IntN(6)]
	q.late = c.chance(20)
	q.form, q.answer = oip.Form(c.random.IntN(2)), oip.Form(c.random.IntN(2))
	return q
}

// data draws bytes of a type. Floats are numbers that JSON can represent.
func (c *soakClient) data(d tensor.DType, size int) []byte {
	data := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint64(data[i:], c.random.Uint64())
	}
	for i := size &^ 7; i < size; i++ {
		data[i] = byte(c.random.Uint32())
	}
	for i := 0; d == tensor.FP32 && i < size; i += 4 {
		binary.LittleEndian.PutUint32(data[i:], math.Float32bits(c.random.Float32()))
	}
	return data
}

// best returns the highest possible floor.
func (q *question) best() slo.Accuracy {
	best := 0.0
	for i, v := range q.model.Variants {
		if q.present.Has(v.Modalities) {
			best = max(best, q.model.accuracy[i])
		}
	}
	a, _ := slo.AccuracyOf(best) // always between 0 and 1
	return a
}

// inputs gathers the items.
func (q *question) inputs() (inputs []tensor.Tensor) {
	for k, in := range q.model.Inputs {
		if !q.present.Has(1 << in.Modality) {
			continue
		}
		t := tensor.Tensor{Name: in.Name, DType: in.DType, Shape: tensor.Shape{int64(len(q.items))}}
		for _, d := range in.Shape {
			if d == -1 {
				d = int64(len(q.items[0][k]) / in.DType.Size())
			}
			t.Shape = append(t.Shape, d)
		}
		for _, item := range q.items {
			t.Data = append(t.Data, item[k]...)
		}
		inputs = append(inputs, t)
	}
	return inputs
}

// encode returns the question as a body, and the length of its JSON part.
func (q *question) encode() (body []byte, jsonBytes int, err error) {
	return q.wire().Append(nil, q.form)
}

// wire returns the question as a request of the protocol.
func (q *question) wire() *oip.Request {
	r := &oip.Request{ID: q.id, Inputs: q.inputs(), OutputForm: q.answer}
	add := func(name string, v oip.Value) {
		r.Parameters = append(r.Parameters, oip.Parameter{Name: name, Value: v})
	}
	if q.floor > 0 {
		add("min_accuracy", oip.Float(q.floor.Float()))
	}
	if q.deadline > 0 {
		add("deadline_ms", oip.Float(float64(q.deadline)/float64(time.Millisecond)))
	}
	if q.late {
		add("late", oip.String("run"))
	}
	return r
}

// request makes the HTTP request of a question, perhaps with a compressed body.
func (c *soakClient) request(ctx context.Context, q *question) (*http.Request, error) {
	body, n, err := q.encode()
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	if n != oip.AllJSON {
		header.Set(oip.HeaderLength, strconv.Itoa(n))
	}
	switch c.random.IntN(6) {
	case 0:
		header.Set("Content-Encoding", "gzip")
		body = compressed(c.gzip, body)
	case 1:
		header.Set("Content-Encoding", "deflate")
		body = compressed(c.zlib, body)
	}
	header.Set(oip.HeaderClient, c.onBehalf())
	header.Set("Accept-Encoding", []string{"gzip", "deflate", "identity"}[c.random.IntN(3)])
	return c.post(ctx, "/v2/models/"+q.model.Name+"/infer", header, body)
}

// compressor is the common interface of gzip.Writer and zlib.Writer. They are large, so
// each client reuses its own.
type compressor interface {
	io.WriteCloser
	Reset(io.Writer)
}

func compressed(c compressor, body []byte) []byte {
	var out bytes.Buffer
	c.Reset(&out)
	_, _ = c.Write(body) // into memory
	_ = c.Close()
	return out.Bytes()
}

func (c *soakClient) post(ctx context.Context, path string, header http.Header, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addr+path, bytes.NewReader(body))
	if err == nil {
		r.Header = header
	}
	return r, err
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte // decompressed
}

// replyMax bounds what a client reads of an answer; no answer here is larger.
const replyMax = 1 << 20

// do sends a request and reads its whole answer.
func (c *soakClient) do(r *http.Request) (*reply, error) {
	answer, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	return readReply(answer)
}

func readReply(answer *http.Response) (*reply, error) {
	defer answer.Body.Close()
	src := io.Reader(answer.Body)
	var err error
	switch answer.Header.Get("Content-Encoding") {
	case "gzip":
		src, err = gzip.NewReader(src)
	case "deflate":
		src, err = zlib.NewReader(src)
	}
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(src, replyMax))
	return &reply{answer.StatusCode, answer.Header, body}, err
}

// soundQuestion asks a question and checks the answer in detail.
func (c *soakClient) soundQuestion() int {
	q := c.ask()
	r, err := c.request(context.Background(), q)
	if err != nil {
		c.fail("a sound question cannot be sent: %v", err)
		return 0
	}
	a, err := c.do(r)
	if err != nil {
		c.fail("a sound question has no answer: %v", err)
		return 0
	}
	if wrong := q.check(a); wrong != nil {
		c.fail("%v: %v", q, wrong)
	}
	return a.status
}

// check returns what is wrong with the answer to a question.
func (q *question) check(a *reply) error {
	ran, err := q.may(a.status)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s", err, a.body[:min(len(a.body), 300)])
	case ran:
		return q.checkResult(a)
	}
	return checkError(a)
}

// may reports whether an answer with a status has results, and returns an error if a
// valid question cannot have that status.
func (q *question) may(status int) (ran bool, err error) {
	impossible := q.floor > q.best()
	switch {
	case status == http.StatusOK && !impossible:
		return true, nil
	case status == http.StatusUnprocessableEntity && impossible,
		status == http.StatusTooManyRequests,
		status == http.StatusNotFound && q.model.Name == guest,
		status == http.StatusGatewayTimeout && (q.deadline > 0 || q.callDeadline):
		return false, nil
	}
	return false, fmt.Errorf("answered %d", status)
}

// String returns what is needed to understand a failure.
func (q *question) String() string {
	return fmt.Sprintf("%s, %d items, present %v, floor %v, deadline %v", q.model.Name, len(q.items), q.present, q.floor, q.deadline)
}

// checkError checks an error against what the protocol's document says about its
// status.
func checkError(a *reply) error {
	var words oip.ErrorBody
	if err := json.Unmarshal(a.body, &words); err != nil || words.Error == "" {
		return fmt.Errorf("answered %d with %q, which has no word in \"error\"", a.status, a.body)
	}
	retry := a.status == http.StatusTooManyRequests
	if retry != (words.RetryAfterMS > 0) || retry != (a.header.Get("Retry-After") != "") {
		return fmt.Errorf("answered %d, retry after %d ms, header %q", a.status, words.RetryAfterMS, a.header.Get("Retry-After"))
	}
	if (a.status == http.StatusUnprocessableEntity) != (words.BestAccuracy != nil) {
		return fmt.Errorf("answered %d, with the best accuracy: %v", a.status, words.BestAccuracy != nil)
	}
	return nil
}

// checkResult checks that an answer belongs to these items: it names what ran, keeps
// the floor, and has the right row for every item.
func (q *question) checkResult(a *reply) error {
	n := oip.AllJSON
	if text := a.header.Get(oip.HeaderLength); text != "" {
		n, _ = strconv.Atoi(text) // if it is not a number, decoding fails
	}
	var r oip.Response
	if err := r.Decode(a.body, n, oip.DefaultLimits()); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	return q.checkResponse(&r)
}

// checkResponse is checkResult for either transport.
func (q *question) checkResponse(r *oip.Response) error {
	if r.ModelName != q.model.Name || r.ID != q.id || len(r.Outputs) != 1 || r.Outputs[0].Rows() != len(q.items) {
		return fmt.Errorf("asked %s %s about %d items, answered by %s to %s with %d outputs", q.model.Name, q.id, len(q.items), r.ModelName, r.ID, len(r.Outputs))
	}
	expected, _ := r.Parameters.Get("expected_accuracy")
	if share, err := expected.Float64(); err != nil || share < q.floor.Float() {
		return fmt.Errorf("expected accuracy %v, floor %v", expected, q.floor)
	}
	variant, _ := r.Parameters.Get("variant")
	return q.checkRows(variant.Text(), r.Outputs[0])
}

// checkRows checks every item's row: it must be that of one of the variants that ran,
// and the numbers of rows must be as the answer says.
func (q *question) checkRows(mix string, out tensor.Tensor) error {
	left := map[int]int{} // rows by variant
	for part := range strings.SplitSeq(mix, ",") {
		name, count, several := strings.Cut(part, ":")
		v := slices.IndexFunc(q.model.Variants, func(v modelpkg.Variant) bool { return v.Name == name })
		if v < 0 || !q.present.Has(q.model.Variants[v].Modalities) {
			return fmt.Errorf("ran %q with the modalities %v", mix, q.present)
		}
		if left[v] = len(q.items); several {
			left[v], _ = strconv.Atoi(count) // if it is not a number, rows are left over
		}
	}
	var ambiguous int // rows that two of the variants would give
	for i, item := range q.items {
		var by []int
		for v := range left {
			if bytes.Equal(out.Row(i), fake.Row(q.model.Model, 0, v, item)) {
				by = append(by, v)
			}
		}
		switch len(by) {
		case 0:
			return fmt.Errorf("row %d of %d is not the answer to item %d of the question (ran %s)", i, len(q.items), i, mix)
		case 1:
			left[by[0]]--
		default:
			ambiguous++
		}
	}
	for _, rest := range left {
		if ambiguous -= rest; rest < 0 || ambiguous < 0 {
			return fmt.Errorf("%d items cannot have run on %s", len(q.items), mix)
		}
	}
	return nil
}
