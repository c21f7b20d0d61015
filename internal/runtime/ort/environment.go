package ort

import (
	"os"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
)

// passedOn are variables that say how the system loads libraries, and where temporary
// files belong. None of them is a secret.
var passedOn = []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", telemetryVariable}

// Environment is all that another process needs of this one's to open the same library.
func (r *Runtime) Environment() []string {
	list := []string{library.EnvironmentVariable + "=" + r.library.Path}
	for _, name := range passedOn {
		if value, set := os.LookupEnv(name); set {
			list = append(list, name+"="+value)
		}
	}
	return list
}

// Arguments are those of a process that is to use the same providers.
func (r *Runtime) Arguments() []string {
	if len(r.providers) == 0 {
		return nil
	}
	return []string{"--providers", modelpkg.ProviderNames(r.providers)}
}
