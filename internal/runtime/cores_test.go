package runtime

import (
	"testing"
	"testing/fstest"
)

func TestCores(t *testing.T) {
	type files map[string]string
	for name, c := range map[string]struct {
		most  int
		files files
		want  int
	}{
		"no control groups":       {8, nil, 8},
		"no limit":                {8, files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8},
		"a container":             {8, files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4},
		"a container of one core": {2, files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1},
		"part of a core":          {2, files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1},
		"a core and a half":       {8, files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2},
		"fewer cores than quota":  {2, files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 2},
		"a service":               {8, files{"proc/self/cgroup": "0::/system.slice/mosel.service\n", "sys/fs/cgroup/system.slice/mosel.service/cpu.max": "300000 100000\n"}, 3},
		"a slice around it": {8, files{"proc/self/cgroup": "0::/system.slice/mosel.service\n", "sys/fs/cgroup/system.slice/cpu.max": "200000 100000\n",
			"sys/fs/cgroup/system.slice/mosel.service/cpu.max": "max 100000\n"}, 2},
		"version 1": {8, files{"proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/x\n", "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
			"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}, 3},
		"version 1 without a limit": {8, files{"proc/self/cgroup": "3:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8},
		"nonsense": {8, files{"proc/self/cgroup": "0::/\nx\n", "sys/fs/cgroup/cpu.max": "many few\n"}, 8},
	} {
		root := fstest.MapFS{}
		for file, text := range c.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := cores(c.most, root); got != c.want {
			t.Errorf("%s: %d cores, want %d", name, got, c.want)
		}
	}
	if Cores() < 1 {
		t.Error("no cores")
	}
}
