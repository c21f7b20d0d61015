// Command startbench starts mosel on a model again and again, and prints how long that takes, on
// what, and where its memory is. Several programs take turns, so that a busy machine does
// not disturb one of them only. It needs Linux.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	programs := flag.String("mosel", "bin/mosel", "programs to compare, separated by commas")
	rounds := flag.Int("rounds", 5, "starts of each program, after a first one with an empty cache")
	model := flag.String("model", "models/digits", "the `package` to serve")
	wait := flag.Duration("wait", 3*time.Second, "from readiness until the memory is read")
	flag.Parse()
	if err := run(strings.Split(*programs, ","), *rounds, *model, *wait); err != nil {
		fmt.Fprintln(os.Stderr, "startbench:", err)
		os.Exit(1)
	}
}

// contender is a program with a cache of its own.
type contender struct {
	program, cache string
	first, later   []start
}

// start is what one start took.
type start struct {
	ready, processor time.Duration
	stages           map[string]time.Duration
	memory           map[string]int // in KiB
}

func run(programs []string, rounds int, model string, wait time.Duration) error {
	var list []*contender
	for _, program := range programs {
		cache, err := os.MkdirTemp("", "mosel-startbench-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(cache) }()
		list = append(list, &contender{program: program, cache: cache})
	}
	library, err := libraryOf(programs[0])
	if err != nil {
		return err
	}
	for round := range rounds + 1 {
		for i := range list {
			c := list[(i+round)%len(list)]
			s, err := measure(c, library, model, wait)
			if err != nil {
				return fmt.Errorf("%s: %w", c.program, err)
			}
			if round == 0 {
				c.first = append(c.first, s)
			} else {
				c.later = append(c.later, s)
			}
		}
	}
	for _, c := range list {
		fmt.Printf("%s, %s, %d cores\n\n", c.program, model, cores())
		table(c)
	}
	return nil
}

// libraryOf returns the path of ONNX Runtime, which the programs share.
func libraryOf(program string) (string, error) {
	out, err := exec.Command(program, "runtime", "show", "--json").Output()
	if err != nil {
		return "", fmt.Errorf("%s runtime show: %w", program, err)
	}
	var found struct{ Path string }
	err = json.Unmarshal(out, &found)
	return found.Path, err
}

// measure starts a program, waits until it is ready, and stops it.
func measure(c *contender, library, model string, wait time.Duration) (s start, err error) {
	cmd := exec.Command(c.program, "serve", "--models", model, "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+c.cache, "MOSEL_ONNXRUNTIME="+library)
	log, err := os.Create(filepath.Join(c.cache, "log"))
	if err != nil {
		return s, err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it has ended, if this fails
		_, _ = io.Copy(io.Discard, out)         // until it ends
		err = cmp.Or(err, cmd.Wait())
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		return s, errors.New("it was not ready: see what it logs")
	}
	s.ready = time.Since(began)
	s.processor = processor(cmd.Process.Pid)
	time.Sleep(wait)
	s.memory, err = memory(cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	s.stages, err = stages(log.Name())
	return s, err
}

// processor returns the processor time of a process.
func processor(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // Linux counts in hundredths
}

// memory returns the resident memory of a process by its use.
func memory(pid int) (map[string]int, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	used, of := map[string]int{}, ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if strings.Contains(fields[0], "-") {
			of = place(fields)
			continue
		}
		if kib, err := strconv.Atoi(cmp.Or(at(fields, 1), "-")); err == nil && fields[0] == "Rss:" {
			used["all"] += kib
			used[of] += kib
		}
	}
	return used, lines.Err()
}

func at(fields []string, i int) string {
	if i < len(fields) {
		return fields[i]
	}
	return ""
}

// place names the use of a mapping of /proc/PID/smaps.
func place(fields []string) string {
	switch name := at(fields, 5); {
	case strings.Contains(name, "libonnxruntime"):
		return "ONNX Runtime's code"
	case strings.HasSuffix(name, ".bin") || strings.HasSuffix(name, ".data"):
		return "weights in files"
	case strings.HasPrefix(name, "/") && strings.Contains(name, ".so"):
		return "the system's code"
	case strings.HasPrefix(name, "/"):
		return "mosel's code"
	case name == "[anon:" && at(fields, 6) == "Go:" || name == "" && len(fields[0]) < 30 && !strings.HasPrefix(fields[0], "7"):
		return "Go's heap"
	}
	return "C's heap and stacks"
}

var duration = regexp.MustCompile(`\b(opening|sizing|loading|warming)=([0-9.]+m?s)\b`)

// stages returns the durations that the log names.
func stages(log string) (map[string]time.Duration, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, err
	}
	found := map[string]time.Duration{}
	for _, m := range duration.FindAllStringSubmatch(string(text), -1) {
		d, err := time.ParseDuration(m[2])
		if err != nil {
			return nil, err
		}
		found[m[1]] += d
	}
	return found, nil
}

func cores() int {
	text, _ := os.ReadFile("/proc/cpuinfo")
	return strings.Count(string(text), "processor\t")
}

// table prints the first start, and the median and the range of the others.
func table(c *contender) {
	row := func(name, unit string, of func(start) float64) {
		var values []float64
		for _, s := range c.later {
			values = append(values, of(s))
		}
		slices.Sort(values)
		if len(values) == 0 {
			values = []float64{of(c.first[0])}
		}
		fmt.Printf("| %s, %s | %.0f | %.0f | %.0f to %.0f |\n", name, unit, of(c.first[0]), values[len(values)/2], values[0], values[len(values)-1])
	}
	fmt.Println("| | first start | median | range |\n|---|--:|--:|--:|")
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	row("ready after", "ms", func(s start) float64 { return ms(s.ready) })
	row("processor time until then", "ms", func(s start) float64 { return ms(s.processor) })
	for _, stage := range []string{"opening", "sizing", "loading", "warming"} {
		row(stage, "ms", func(s start) float64 { return ms(s.stages[stage]) })
	}
	for _, part := range []string{"all", "C's heap and stacks", "Go's heap", "mosel's code", "ONNX Runtime's code", "the system's code", "weights in files"} {
		row("memory: "+part, "MB", func(s start) float64 { return float64(s.memory[part]) * 1024 / 1e6 })
	}
	fmt.Println()
}
