package modelpkg

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestParseProviders(t *testing.T) {
	for _, c := range []struct {
		text, want, err string
	}{
		{"cuda,cpu", "cuda,cpu", ""},
		{"TensorRT, cuda ,cpu", "tensorrt,cuda,cpu", ""},
		{"openvino", "openvino", ""},
		{"cpu", "cpu", ""},
		{"cdua", "", `the provider "cdua" is not known; known: cpu,cuda,tensorrt,openvino,coreml,xnnpack`},
		{"", "", `the provider "" is not known`},
		{"cuda,cuda", "", "the provider cuda is given twice"},
		{"cpu,cuda", "", "cuda comes after cpu, which runs every operator, so it would never be used: put cpu last"},
	} {
		list, err := ParseProviders(strings.Split(c.text, ","))
		switch {
		case c.err != "":
			if err == nil || !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%q: %v, want %s", c.text, err, c.err)
			}
		case err != nil || ProviderNames(list) != c.want || PlainCPU(list) != (list == nil):
			t.Errorf("%q: %v, %v", c.text, list, err)
		}
	}
}

// withProviders is the tests' package whose second variant may use some providers.
func withProviders(list string) string {
	return strings.Replace(goodYAML, "precision: int8", "precision: int8, providers: "+list, 1)
}

func TestProvidersOfVariants(t *testing.T) {
	dir := writePackage(t)
	write(t, dir, FileName, []byte(withProviders("[openvino, cpu]")))
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		variant     int
		asked, want []Provider
		err         string
	}{
		{0, nil, []Provider{CPU}, ""},
		{0, []Provider{CUDA}, []Provider{CUDA}, ""},
		{1, nil, []Provider{CPU}, ""},
		{1, []Provider{CUDA, OpenVINO, CPU}, []Provider{OpenVINO, CPU}, ""},
		{1, []Provider{CUDA, CPU}, []Provider{CPU}, ""},
		{1, []Provider{CUDA}, nil, "variant all may run on openvino,cpu (providers in mosel.yaml), but only on cuda is asked for: add one of its providers with --providers"},
	} {
		got, err := m.ProvidersOf(c.variant, c.asked)
		if !slices.Equal(got, c.want) || (err != nil) != (c.err != "") || err != nil && err.Error() != c.err {
			t.Errorf("variant %d of %v: %v, %v", c.variant, c.asked, got, err)
		}
	}
}

func TestProviderProblems(t *testing.T) {
	schema := loadSchema(t)
	for text, want := range map[string]string{
		withProviders("[cuda, cpu]"):  "",
		withProviders("[]"):           `a variant's providers: the list is empty`,
		withProviders("cuda"):         `a variant's providers must be a list, not "cuda"`,
		withProviders("[cuda, cuda]"): `the provider "cuda" occurs twice; the first is on line 19`,
		withProviders("[gpu]"):        `the provider "gpu" is not known; known: cpu,cuda,tensorrt,openvino,coreml,xnnpack`,
		withRemote("remote: grpc://gpu:8001/m, precision: int8, providers: [cuda]"): `providers is for graphs of the package; the variant runs on another server`,
	} {
		dir := writePackage(t)
		write(t, dir, FileName, []byte(text))
		got := lines(dir, Check(dir))
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], "19:") || !strings.HasSuffix(got[0], want)) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
		}
		var document any
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); (err == nil) != (want == "") {
			t.Errorf("%s: the schema says %v", want, err)
		}
	}
}

// TestProfilesOfProviders chooses among profiles of several providers.
func TestProfilesOfProviders(t *testing.T) {
	own, detail := Device(nil)
	fast, told := Device([]Provider{CUDA, OpenVINO, CPU})
	if CheckDevice(fast) != nil || !strings.HasSuffix(fast, "-cuda-openvino") || !strings.HasPrefix(own, strings.TrimSuffix(fast, "-cuda-openvino")) ||
		told != detail+", providers cuda,openvino,cpu" {
		t.Errorf("the device is %s (%s), with providers %s (%s)", own, detail, fast, told)
	}
	m := loadGood(t)
	openvino := []Provider{OpenVINO, CPU}
	save := func(device string, providers []Provider) {
		t.Helper()
		p := goodProfile(m, device)
		p.Providers = providers
		if err := p.Save(m.ProfilePath(device)); err != nil {
			t.Fatal(err)
		}
	}
	find := func(providers []Provider, want string) {
		t.Helper()
		p, err := FindProfileOn(m, "", providers)
		if err != nil || p.Device != want {
			t.Errorf("with %v: %+v, %v, want %s", providers, p, err, want)
		}
	}
	save("cpu", nil)
	find(nil, "cpu")
	find(openvino, "cpu") // the only one
	save("other-openvino", openvino)
	find(nil, "cpu")
	find(openvino, "other-openvino")
	if _, err := FindProfileOn(m, "", []Provider{CUDA}); err == nil || !strings.Contains(err.Error(), "choose one of cpu, other-openvino with --device") {
		t.Errorf("with CUDA: %v", err)
	}
	mine, _ := Device(openvino)
	save(mine, openvino)
	find(openvino, mine)
	find(nil, "cpu")
}

func TestAnswersOfOtherProvidersAreOthers(t *testing.T) {
	p := goodProfile(loadGood(t), "cpu")
	plain := p.Origin()
	p.Providers = []Provider{OpenVINO, CPU}
	if string(plain.sum()) == string(p.Origin().sum()) {
		t.Error("answers of plain CPU would be taken for those of OpenVINO")
	}
}
