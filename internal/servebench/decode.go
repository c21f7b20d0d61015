package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// picture is a JSON request of one picture of 784 numbers.
type picture struct {
	name string
	body []byte
}

// pictures are written as clients write them: a byte for each pixel, a float of
// six digits, and a float32 as Python prints it.
func pictures() []picture {
	random := rand.New(rand.NewPCG(1, 2))
	write := func(d tensor.DType, number func() string) []byte {
		body := []byte(`{"inputs":[{"name":"x","shape":[1,784],"datatype":"` + d.String() + `","data":[`)
		for i := range imageNumbers {
			if i > 0 {
				body = append(body, ", "...)
			}
			body = append(body, number()...)
		}
		return append(body, "]}]}"...)
	}
	return []picture{
		{"UINT8", write(tensor.Uint8, func() string { return strconv.Itoa(random.IntN(256)) })},
		{"FP32, 6 digits", write(tensor.FP32, func() string { return strconv.FormatFloat(random.Float64(), 'f', 6, 64) })},
		{"FP32, 17 digits", write(tensor.FP32, func() string { return strconv.FormatFloat(float64(random.Float32()), 'g', 17, 64) })},
	}
}

// decoder is one way to read a picture. It fails unless it found all numbers.
type decoder struct {
	name  string
	about string
	read  func(body []byte) error
}

// The compared decoders. ours must be as fast as plain, which is one pass over the text
// with the standard library's number parser.
const (
	ours  = "oip"
	plain = "one pass"
)

func decoders() []decoder {
	var request oip.Request
	return []decoder{
		{ours, "mosel's decoder: the whole request, checked, into the tensor's bytes", func(body []byte) error {
			if err := request.Decode(body, oip.AllJSON, oip.DefaultLimits()); err != nil {
				return err
			}
			return all(len(request.Inputs[0].Data) / request.Inputs[0].DType.Size())
		}},
		{plain, "one pass that cuts the text at commas and calls strconv.ParseFloat; checks nothing else", readPlain},
		{"tokens", "json.Decoder.Token, number by number", readTokens},
		{"struct", "json.Unmarshal into a struct with []float32", readStruct},
		{"memory", "a look at every byte, nothing more", readMemory},
	}
}

func all(n int) error {
	if n != imageNumbers {
		return fmt.Errorf("%d numbers were found, not %d", n, imageNumbers)
	}
	return nil
}

var dataField = []byte(`"data":[`)

// readPlain is told where the numbers begin.
func readPlain(body []byte) error {
	rest := body[bytes.Index(body, dataField)+len(dataField):]
	numbers := make([]float32, 0, imageNumbers)
	start := 0
	for i, c := range rest {
		switch c {
		case ' ':
			start = i + 1
		case ',', ']':
			f, err := strconv.ParseFloat(string(rest[start:i]), 32)
			if err != nil {
				return err
			}
			numbers = append(numbers, float32(f))
			if start = i + 1; c == ']' {
				return all(len(numbers))
			}
		}
	}
	return io.ErrUnexpectedEOF
}

// readTokens takes every number for one of the data that stands at their depth.
func readTokens(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	var numbers []float32
	inData := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all(len(numbers))
		}
		if err != nil {
			return err
		}
		switch v := token.(type) {
		case string:
			inData = v == "data"
		case float64:
			if inData {
				numbers = append(numbers, float32(v))
			}
		}
	}
}

func readStruct(body []byte) error {
	var request struct {
		Inputs []struct {
			Name     string    `json:"name"`
			Shape    []int64   `json:"shape"`
			Datatype string    `json:"datatype"`
			Data     []float32 `json:"data"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return err
	}
	return all(len(request.Inputs[0].Data))
}

// readMemory counts the commas of the data and of the fields before them.
func readMemory(body []byte) error {
	commas := 0
	for _, c := range body {
		if c == ',' {
			commas++
		}
	}
	const others = 4 // between the fields of the input, and in its shape
	return all(commas + 1 - others)
}

// speeds are megabytes per second: by picture, by decoder.
type speeds [][]float64

// measureDecoding lets the decoders take turns in short rounds.
func measureDecoding(o options) (speeds, error) {
	var result speeds
	for _, p := range pictures() {
		rounds := make([][]float64, len(decoders()))
		for range o.rounds {
			for i, d := range decoders() {
				speed, err := decodeFor(o.span/10, d, p.body)
				if err != nil {
					return nil, fmt.Errorf("%s, decoder %s: %w", p.name, d.name, err)
				}
				rounds[i] = append(rounds[i], speed)
			}
		}
		medians := make([]float64, len(rounds))
		for i, r := range rounds {
			medians[i] = middle(r)
		}
		result = append(result, medians)
	}
	return result, nil
}

// decodeFor reads the body repeatedly and returns MB/s.
func decodeFor(span time.Duration, d decoder, body []byte) (float64, error) {
	const perLook = 16 // at the clock
	n, began := 0, time.Now()
	for time.Since(began) < span {
		for range perLook {
			if err := d.read(body); err != nil {
				return 0, err
			}
		}
		n += perLook
	}
	return float64(n*len(body)) / 1e6 / time.Since(began).Seconds(), nil
}

// print writes the table and reports whether ours is as fast as plain for every
// picture.
func (s speeds) print(out io.Writer) (sound bool) {
	sound = true
	fmt.Fprintf(out, "\ndecoding JSON of %d numbers, MB/s\n", imageNumbers)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, d := range decoders() {
		fmt.Fprintf(w, "\t%s", d.name)
	}
	fmt.Fprintf(w, "\t%s : %s\tbound\t\n", ours, plain)
	for i, p := range pictures() {
		fmt.Fprintf(w, "%s, %.1f kB", p.name, float64(len(p.body))/1e3)
		for _, speed := range s[i] {
			fmt.Fprintf(w, "\t%.0f", speed)
		}
		ratio := s[i][0] / s[i][1]
		verdict := "ok"
		if ratio < 1 {
			verdict, sound = "MISSED", false
		}
		fmt.Fprintf(w, "\t%.2f\t>= 1.00 %s\t\n", ratio, verdict)
	}
	_ = w.Flush() // to the terminal
	for _, d := range decoders() {
		fmt.Fprintf(out, "  %-8s  %s\n", d.name, d.about)
	}
	return sound
}
