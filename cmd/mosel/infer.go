package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
	"github.com/spf13/cobra"
)

// defaultAddr is where `mosel serve` listens without flags.
const defaultAddr = "http://127.0.0.1:8000"

// inferFlags are the flags of `mosel infer`.
type inferFlags struct {
	inputs      []string
	media       map[modelpkg.Media]*string
	minAccuracy accuracyFlag
	confidence  confidenceFlag
	deadline    time.Duration
	modalities  []string
	recover     bool
	late        string
	addr        string
	json        string
}

func inferCommand() *cobra.Command {
	f := inferFlags{media: map[modelpkg.Media]*string{}}
	cmd := &cobra.Command{
		Use:   "infer MODEL",
		Short: "Send an image, a recording or a text to a served model",
		Long: `Send files or texts to a model on a server. Print its answer, what ran, and how
long that took. Images are PNG, JPEG or WebP; recordings are WAV. They are scaled
and resampled to what the model declares. Give every input that you have: the
server chooses which of the given modalities it runs.

Every input also takes an .npy file, as numpy.save writes it. The array is one item,
or several items if it has one more dimension. An input without a media type also
takes a file of raw bytes, or numbers.`,
		Example: `  cd "$(mosel example)/samples"    # images and recordings for the built-in example
  mosel infer digits --image seven.png --audio seven.wav --text sevne --min-accuracy 0.97 --deadline 50ms
  mosel infer digits --text sevne
  mosel infer my-model --input left=a.png --input right=b.png --input caption=@caption.txt
  mosel infer my-model --input ids=tokens.npy --input sample_rate=[16000]`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one model that the server has, such as digits\nSee '%s --help'", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return infer(cmd, args[0], f)
		},
	}
	flags := cmd.Flags()
	for kind, usage := range map[modelpkg.Media]string{
		modelpkg.MediaImage: "a PNG, JPEG or WebP `file`",
		modelpkg.MediaAudio: "a WAV `file`",
		modelpkg.MediaText:  "the `text` itself, or @FILE",
	} {
		f.media[kind] = flags.String(string(kind), "", usage+" for the model's input of this type")
	}
	flags.StringArrayVar(&f.inputs, "input", nil, "an input by its name: `NAME=FILE`; for a text NAME=TEXT or NAME=@FILE; for numbers NAME=[1,2,3]; may be repeated")
	flags.Var(&f.minAccuracy, "min-accuracy", "the floor: lowest expected accuracy to accept, 0 to 1, such as 0.97")
	flags.Var(&f.confidence, "confidence", "how sure it must be that the floor is kept, such as 0.95 (default: the server's)")
	flags.DurationVar(&f.deadline, "deadline", 0, "time until the answer is needed, such as 50ms (default: no deadline)")
	flags.StringSliceVar(&f.modalities, "modalities", nil, "run exactly these modalities, comma separated (default: the server chooses)")
	flags.BoolVar(&f.recover, "recover", true, "let variants run that recover missing modalities; --recover=false: not")
	flags.StringVar(&f.late, "late", "drop", "what to do if the deadline cannot be met: drop (refuse the request) or run (answer late)")
	flags.StringVar(&f.addr, "addr", defaultAddr, "URL of the server")
	addJSONFlag(flags, &f.json)
	return cmd
}

// validate checks the flags without asking the server.
func (f inferFlags) validate() error {
	switch {
	case f.deadline < 0:
		return usageError{fmt.Errorf("--deadline %v is negative", f.deadline)}
	case f.late != string(client.LateDrop) && f.late != string(client.LateRun):
		return usageError{fmt.Errorf("--late %q is neither drop nor run", f.late)}
	}
	return nil
}

// infer sends one request and prints what came back.
func infer(cmd *cobra.Command, model string, f inferFlags) error {
	if err := f.validate(); err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := client.New(f.addr, client.Options{GRPC: clientgrpc.Dial})
	if err != nil {
		return usageError{err}
	}
	defer c.Close()
	served, err := c.Metadata(ctx, model)
	if err != nil {
		return explain(ctx, c, f.addr, err)
	}
	inputs, err := f.read(served)
	if err != nil {
		return err
	}
	began := time.Now()
	answer, err := c.Infer(ctx, client.Request{Model: model, Inputs: inputs, MinAccuracy: f.minAccuracy.Float(), AccuracyConfidence: f.confidence.Float(), Deadline: f.deadline,
		Late: client.Late(f.late), Modalities: f.modalities, NoRecovery: !f.recover})
	if err != nil {
		return explain(ctx, c, f.addr, err)
	}
	total := time.Since(began)
	r, err := newInferReport(served, answer, total)
	if err != nil {
		return err
	}
	return writeReport(f.json, cmd.OutOrStdout(), r, func(out io.Writer) error {
		r.print(out)
		return nil
	})
}

// read makes the inputs of the request from the given files and texts.
func (f inferFlags) read(served oip.ModelMetadata) ([]tensor.Tensor, error) {
	declared, err := declaredInputs(served)
	if err != nil {
		return nil, err
	}
	given := map[string]string{} // value by input
	for kind, value := range f.media {
		if *value == "" {
			continue
		}
		name, err := inputOf(declared, kind)
		if err != nil {
			return nil, usageError{err}
		}
		given[name] = *value
	}
	for _, pair := range f.inputs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--input %q is not NAME=VALUE", pair)}
		}
		if _, twice := given[name]; twice {
			return nil, usageError{fmt.Errorf("input %s is given more than once", name)}
		}
		given[name] = value
	}
	var inputs []tensor.Tensor
	for _, in := range declared {
		value, ok := given[in.Name]
		if !ok {
			continue
		}
		delete(given, in.Name)
		t, err := readInput(in, value)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, t)
	}
	for name := range given {
		return nil, usageError{fmt.Errorf("the model has no input %q; it has %s", name, strings.Join(inputNames(declared), ", "))}
	}
	if len(inputs) == 0 {
		return nil, usageError{fmt.Errorf("there is nothing to send: give at least one of the model's inputs: %s", strings.Join(inputNames(declared), ", "))}
	}
	return inputs, sameItems(declared, inputs)
}

// readBounded reads a file of at most media.FileBytesMax bytes.
func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, media.FileBytesMax+1))
	if err == nil && len(content) > media.FileBytesMax {
		err = fmt.Errorf("%s has more than %d bytes", file, media.FileBytesMax)
	}
	return content, err
}

// declaredInputs reads the inputs, with their media types, from the server's
// metadata. It does not trust the shapes, because they come from outside.
func declaredInputs(served oip.ModelMetadata) ([]modelpkg.Input, error) {
	var inputs []modelpkg.Input
	for _, in := range served.Inputs {
		dtype, err := tensor.ParseDType(in.Datatype)
		unbatched := served.Properties["batched."+in.Name] == "false"
		if err != nil || len(in.Shape) == 0 && !unbatched {
			return nil, fmt.Errorf("the server describes input %s as %s %v, which is not a valid input", in.Name, in.Datatype, in.Shape)
		}
		shape := in.Shape
		if !unbatched {
			shape = shape[1:]
		}
		if served.Properties["tokenizer."+in.Name] != "" { // the server makes ids of the text
			dtype, shape = tensor.Bytes, nil
		}
		rate, _ := strconv.Atoi(served.Properties["sample_rate."+in.Name]) // 0 if it does not say
		inputs = append(inputs, modelpkg.Input{
			Spec:       modelpkg.Spec{Name: in.Name, DType: dtype, Shape: shape},
			Unbatched:  unbatched,
			Media:      modelpkg.Media(served.Properties["media."+in.Name]),
			SampleRate: rate,
		})
	}
	return inputs, nil
}

func inputNames(inputs []modelpkg.Input) []string {
	names := make([]string, len(inputs))
	for i, in := range inputs {
		names[i] = in.Name
	}
	return names
}

// inputOf finds the only input of a media type.
func inputOf(inputs []modelpkg.Input, kind modelpkg.Media) (string, error) {
	name := ""
	for _, in := range inputs {
		if in.Media != kind {
			continue
		}
		if name != "" {
			return "", fmt.Errorf("--%s: both input %s and input %s take this: use --input NAME=FILE", kind, name, in.Name)
		}
		name = in.Name
	}
	if name == "" {
		return "", fmt.Errorf("--%s: the model has no such input; its inputs are %s", kind, strings.Join(inputNames(inputs), ", "))
	}
	return name, nil
}

// explain adds to an error what the user can do about it.
func explain(ctx context.Context, c *client.Client, addr string, err error) error {
	var e *client.Error
	if !errors.As(err, &e) {
		return notThere(addr, err)
	}
	switch {
	case e.Status == http.StatusNotFound:
		names := servedNames(ctx, c)
		return fmt.Errorf("%s\nThe server at %s serves: %s", e.Message, addr, strings.Join(names, ", "))
	case e.Status == http.StatusUnprocessableEntity && e.BestAccuracy > 0:
		return fmt.Errorf("%s\nThe highest floor for these inputs: --min-accuracy %v", e.Message, floorDown(e.BestAccuracy))
	case e.RetryAfter > 0 && e.Status == http.StatusServiceUnavailable:
		return fmt.Errorf("%s\nTry again in %v", e.Message, e.RetryAfter)
	case e.RetryAfter > 0:
		return fmt.Errorf("%s\nTry again in %v, or give the request more time with --deadline or --late run", e.Message, e.RetryAfter)
	case e.Status == http.StatusGatewayTimeout:
		return fmt.Errorf("%s\nGive the request more time with --deadline, or use --late run", e.Message)
	}
	return errors.New(e.Message)
}

// notThere adds advice to an error that means that no server is listening.
func notThere(addr string, err error) error {
	if refused := (*net.OpError)(nil); errors.As(err, &refused) && refused.Op == "dial" {
		return fmt.Errorf("no server at %s (%w)\nStart one with 'mosel serve', or give its address with --addr", addr, refused.Err)
	}
	return err
}

// floorDown rounds an accuracy down to four digits, so that it is a floor that can be
// reached.
func floorDown(a float64) float64 { return math.Floor(a*1e4) / 1e4 }

// servedNames lists the server's models, or "no models" if there are none or the
// server does not answer.
func servedNames(ctx context.Context, c *client.Client) []string {
	entries, err := c.Models(ctx)
	if err != nil || len(entries) == 0 {
		return []string{"no models"}
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}
