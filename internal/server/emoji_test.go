package server_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/tensor"
)

const emojiDir = "../../models/emoji"

// jpegOf returns a picture of [height, width, 3] as a JPEG file.
func jpegOf(t *testing.T, pixels []byte, size int) string {
	t.Helper()
	picture := image.NewRGBA(image.Rect(0, 0, size, size))
	for i := range size * size {
		picture.SetRGBA(i%size, i/size, color.RGBA{pixels[3*i], pixels[3*i+1], pixels[3*i+2], 255})
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, picture, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

// sureSamples returns samples of the profile whose every answer is sure, so that what
// JPEG loses does not change it.
func sureSamples(s *modelpkg.Samples, want int) []int {
	var found []int
	for i := 0; i < s.Labels.Len() && len(found) < want; i++ {
		sure := true
		for _, v := range s.Variants {
			sure = sure && v.Confidence[i] > 0.6
		}
		if sure {
			found = append(found, i)
		}
	}
	return found
}

// TestEmojiFromFiles serves the example of texts and pictures in ONNX Runtime and sends
// it strings and JPEG files, over REST and gRPC. Every answer must be the one that the
// profile has for that sample and the variant that ran.
func TestEmojiFromFiles(t *testing.T) {
	rt, err := ort.Open(t.Context(), ort.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	s := startServer(t, func(cfg *server.Config) { cfg.Runtime, cfg.ModelsDir = rt, emojiDir })
	m := s.Served()[0].Model
	profile, err := modelpkg.FindProfile(m, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	answers, err := modelpkg.LoadSamples(m, profile.Origin(), m.File("profiles/cpu.samples.npz"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(m.File(m.Evaluation.Profile))
	if err != nil {
		t.Fatal(err)
	}
	texts, err := modelpkg.TextsNPZ(bytes.NewReader(file), int64(len(file)), "text")
	if err != nil {
		t.Fatal(err)
	}
	images, err := modelpkg.ReadNPZ(bytes.NewReader(file), int64(len(file)), 1<<30, "image")
	if err != nil {
		t.Fatal(err)
	}
	samples, ran := sureSamples(answers, 12), map[string]bool{}
	if len(samples) < 12 {
		t.Fatalf("%d samples are sure", len(samples))
	}
	for _, url := range []string{"http://" + s.Addr().String(), "grpc://" + s.GRPCAddr().String()} {
		c, err := client.New(url, client.Options{GRPC: clientgrpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for n, i := range samples {
			picture := jpegOf(t, images[0].Row(i), int(images[0].Shape[1]))
			r := client.Request{Model: m.Name, Inputs: []tensor.Tensor{stringTensor(t, "image", picture), stringTensor(t, "input_ids", texts[i])}}
			r.Modalities = [][]string{{"text"}, {"image"}, {"image", "text"}}[n%3]
			answer, err := c.Infer(t.Context(), r)
			if err != nil {
				t.Fatalf("%s: %q: %v", url, texts[i], err)
			}
			label, _, err := modelpkg.BestClass(answer.Outputs[0], 0)
			if err != nil {
				t.Fatal(err)
			}
			variant, _, _ := strings.Cut(answer.Variant, "@") // without the bucket
			ran[variant] = true
			if want := answers.Variants[variant].Predicted[i]; label != want {
				t.Errorf("%s: sample %d, %q: %s answers %s, and %s in the profile", url, i, texts[i], answer.Variant, m.Labels[label], m.Labels[want])
			}
		}
	}
	if len(ran) < 3 {
		t.Errorf("only %v ran", ran)
	}
}

func stringTensor(t *testing.T, name, content string) tensor.Tensor {
	t.Helper()
	x, err := tensor.Strings(name, tensor.Shape{1}, []string{content})
	if err != nil {
		t.Fatal(err)
	}
	return x
}
