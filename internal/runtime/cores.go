package runtime

import (
	"io/fs"
	"math"
	"os"
	"path"
	goruntime "runtime"
	"strconv"
	"strings"
)

// Cores returns the number of cores that the process may use, at least 1: Go's number,
// or less if the control group of a container or a service allows less CPU time. Go
// never counts fewer than two.
func Cores() int { return cores(goruntime.GOMAXPROCS(0), os.DirFS("/")) }

func cores(most int, root fs.FS) int {
	limit := float64(most)
	for _, dir := range controlGroups(root) {
		if quota, ok := cpuQuota(root, dir); ok {
			limit = min(limit, quota)
		}
	}
	return max(1, int(math.Ceil(limit)))
}

// controlGroups returns the directories that may have a limit on CPU time: that of the
// process's group and of all groups around it. A container sees its own group as the
// outermost.
func controlGroups(root fs.FS) (dirs []string) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		base := "sys/fs/cgroup"
		if fields[1] != "" { // version 1
			if fields[1] != "cpu" && fields[1] != "cpu,cpuacct" {
				continue
			}
			base = path.Join(base, fields[1])
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			dirs = append(dirs, path.Join(base, group))
			if group == "/" {
				break
			}
		}
	}
	return dirs
}

// cpuQuota returns the limit of a control group, in cores; false if it has none.
func cpuQuota(root fs.FS, dir string) (float64, bool) {
	read := func(name string) []string {
		text, err := fs.ReadFile(root, path.Join(dir, name))
		if err != nil {
			return nil
		}
		return strings.Fields(string(text))
	}
	fields := read("cpu.max")
	if len(fields) != 2 {
		fields = append(read("cpu.cfs_quota_us"), read("cpu.cfs_period_us")...)
	}
	if len(fields) != 2 {
		return 0, false
	}
	quota, err := strconv.ParseFloat(fields[0], 64) // "max" and -1 are no limit
	period, err2 := strconv.ParseFloat(fields[1], 64)
	if err != nil || err2 != nil || quota <= 0 || period <= 0 {
		return 0, false
	}
	return quota / period, true
}
