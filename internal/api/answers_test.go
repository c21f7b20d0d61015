package api

import (
	"fmt"
	"strings"
	"testing"
)

// TestAnswersAboutServerAndModels fixes all answers that are not inferences.
func TestAnswersAboutServerAndModels(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		s := &script{fixture: f}
		for _, path := range []string{"/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/health/ready/", "/v2/models",
			"/v2/models/scene", "/v2/models/scene/versions/3", "/v2/models/single", "/v2/models/scene/ready", "/v2/models/scene/versions/3/ready",
			"/v2/models/scene/config", "/v2/models/scene/stats", "/v2/models/stats"} {
			s.say("GET", path, "")
		}
		s.say("POST", "/v2/repository/index", "")
		s.say("POST", "/v2/repository/index", `{"ready":true}`)
		s.say("HEAD", "/v2", "")
		s.golden("about.txt")
	})
}

// TestAnswersToInferences fixes both forms of request and answer.
func TestAnswersToInferences(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		s := &script{fixture: f}
		// The requests choose what runs, because this test is not about policies.
		everything := []string{imageJSON, audioJSON, textJSON}
		s.say("POST", inferPath, `{"id":"a \"1\"","inputs":[`+strings.Join(everything, ",")+`],"outputs":[{"name":"scores"}],`+
			`"parameters":{"modalities":"image,audio,text","priority":2},"model_name":"ignored"}`)
		s.say("POST", inferPath, ask(`"min_accuracy":0.95,"deadline_ms":50,"modalities":"image,text"`, everything...),
			"Content-Type: application/x-www-form-urlencoded")
		s.say("POST", "/v2/models/scene/versions/3/infer/", ask(`"modalities":" text "`, everything...))
		s.say("POST", inferPath, ask(``, imageJSON))
		s.say("POST", inferPath, ask(``, textJSON, audioJSON))
		two := strings.NewReplacer("[1,2,2]", "[2,2,2]", "[[1,2],[3,4]]", "[1,2,3,4,5,6,7,8]").Replace(imageJSON)
		s.say("POST", inferPath, ask(`"min_accuracy":"0.75"`, two))

		head := `{"inputs":[{"name":"image","shape":[1,2,2],"datatype":"UINT8","parameters":{"binary_data_size":4}}],` +
			`"outputs":[{"name":"half","parameters":{"binary_data":true}},{"name":"scores"}]}`
		s.say("POST", inferPath, head+"\x01\x02\x03\x04", fmt.Sprintf("Inference-Header-Content-Length: %d", len(head)))
		s.say("POST", "/v2/models/single/infer", "\x01\x00\x02\x00\x03\x00\x04\x00", "Inference-Header-Content-Length: 0")
		s.golden("infer.txt")
	})
}

// TestAnswersThatAreErrors fixes the text for every ordinary mistake.
func TestAnswersThatAreErrors(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		s := &script{fixture: f}
		for _, r := range [][2]string{{"GET", "/"}, {"GET", "/v2/model"}, {"GET", "/v2//models"}, {"GET", inferPath}, {"DELETE", "/v2"},
			{"GET", "/v2/models/other"}, {"GET", "/v2/models/scene/versions/4"}, {"GET", "/v2/models/other/ready"}, {"GET", "/v2/models/other/config"},
			{"POST", "/v2/models/other/infer"}, {"POST", "/v2/models/scene/versions/4/infer"}, {"POST", "/v2/models/scene/jobs"},
			{"POST", "/v2/repository/models/scene/load"}, {"POST", "/v2/repository/models/scene/unload"}, {"GET", "/v2/models//infer"},
			{"GET", "/v2/models/a%2Fb"}, {"GET", "/v2/a/b/c/d/e/f/g/h/i/j"}} {
			s.say(r[0], r[1], "")
		}
		s.say("POST", "/v2/repository/index", "[")
		for _, body := range []string{``, `[]`, `{"inputs":[]}`,
			ask(``, `{"name":"imag","shape":[1,2,2],"datatype":"UINT8","data":[1,2,3,4]}`),
			ask(``, imageJSON, imageJSON),
			ask(``, `{"name":"image","shape":[1,2,2],"datatype":"FP32","data":[1,2,3,4]}`),
			ask(``, `{"name":"image","shape":[2,2],"datatype":"UINT8","data":[1,2,3,4]}`),
			ask(``, `{"name":"image","shape":[1,4],"datatype":"UINT8","data":[1,2,3,4]}`),
			ask(``, `{"name":"image","shape":[0,2,2],"datatype":"UINT8","data":[]}`),
			ask(``, `{"name":"audio","shape":[1,0],"datatype":"INT16","data":[]}`),
			ask(``, `{"name":"image","shape":[],"datatype":"UINT8","data":[1]}`),
			ask(``, `{"name":"image","shape":[1,2,2],"datatype":"UINT8","data":[1,2,3,300]}`),
			ask(``, strings.Replace(imageJSON, "[1,2,2]", "[1,2,-2]", 1)),
			ask(``, imageJSON, `{"name":"audio","shape":[2,1],"datatype":"INT16","data":[1,2]}`),
			ask(``, imageJSON, `{"name":"mask","shape":[1,3],"datatype":"BOOL","data":[true,true,true]}`),
			ask(``, audioJSON),
			ask(`"modalities":"video"`, imageJSON), ask(`"modalities":"text"`, imageJSON), ask(`"modalities":"image,audio"`, imageJSON, audioJSON),
			ask(`"modalities":""`, imageJSON), ask(`"modalities":1`, imageJSON),
			ask(`"min_accuracy":97`, imageJSON), ask(`"min_accuracy":null`, imageJSON), ask(`"modalities":["image"]`, imageJSON), ask(`"min_accuracy":97.5`, imageJSON), ask(`"min_accuracy":1001`, imageJSON), ask(`"min_accuracy":-1`, imageJSON),
			ask(`"min_accuracy":true`, imageJSON), ask(`"min_accuracy":"high"`, imageJSON), ask(`"min_accuracy":0.99`, imageJSON),
			ask(`"deadline_ms":0`, imageJSON), ask(`"deadline_ms":"soon"`, imageJSON), ask(`"deadline_ms":"1_000"`, imageJSON), ask(`"deadline_ms":null`, imageJSON), ask(`"timeout":-1`, imageJSON), ask(`"timeout":1.5`, imageJSON),
			ask(`"late":"maybe"`, imageJSON), ask(`"late":true`, imageJSON),
			`{"inputs":[` + imageJSON + `],"outputs":[{"name":"label"}]}`,
			`{"inputs":[` + imageJSON + `],"outputs":[{"name":"scores"},{"name":"scores"}]}`,
			`{"inputs":[` + imageJSON + `],"outputs":[{"name":"half"}]}`,
			`{"inputs":[` + imageJSON + `],"outputs":[{"name":"scores","parameters":{"classification":2}}]}`,
		} {
			s.say("POST", inferPath, body)
		}
		s.say("POST", inferPath, "x", "Inference-Header-Content-Length: ten")
		s.say("POST", inferPath, "x", "Inference-Header-Content-Length: -1")
		s.say("POST", inferPath, "x", "Inference-Header-Content-Length: 2")
		s.say("POST", inferPath, "\x01\x02", "Inference-Header-Content-Length: 0")
		s.say("POST", "/v2/models/single/infer", "\x01\x02\x03", "Inference-Header-Content-Length: 0")
		s.say("POST", inferPath, ask(``, imageJSON), "X-Mosel-Min-Accuracy: lots")
		s.say("POST", inferPath, ask(``, imageJSON), "X-Mosel-Deadline-Ms: -5")
		s.say("POST", inferPath, ask(``, imageJSON), "Content-Encoding: br")
		s.say("POST", inferPath, ask(``, imageJSON), "Content-Encoding: gzip")
		s.golden("errors.txt")
	})
}
