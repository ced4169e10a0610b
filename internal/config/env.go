package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/nearest"
)

// ConfigVariable names the file when no flag does.
const ConfigVariable = "SLUICE_CONFIG"

// environment turns os.Environ's form into a map. An empty variable counts as
// one that is not set, since many tools cannot unset one.
func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, pair := range list {
		if name, value, ok := strings.Cut(pair, "="); ok && value != "" {
			env[name] = value
		}
	}
	return env
}

// applyEnv sets the keys whose variables are set. A variable of Sluice's own
// whose name is nearly right is a fault, as it would be in the file.
func applyEnv(cfg *Config, env map[string]string, f *faults) {
	known := []string{ConfigVariable}
	settings(reflect.ValueOf(cfg).Elem(), "", func(path, name string, v reflect.Value) {
		if name == "" {
			return
		}
		known = append(known, name)
		if value := env[name]; value != "" && !fromKubernetes(value) {
			f.set(name, path, v, value)
		}
	})
	for name := range env {
		if !strings.HasPrefix(name, ownPrefix) || slices.Contains(known, name) {
			continue
		}
		for _, k := range known {
			if nearest.Distance(name, k, 3) < 3 {
				f.add(origin{name: name}, "", "unknown variable; did you mean "+strconv.Quote(k)+"?")
				break
			}
		}
	}
}

// fromKubernetes reports whether a value is one of those that Kubernetes gives
// every container for a Service: one that is called "sluice" makes
// SLUICE_PORT=tcp://10.0.0.1:28888, which is not meant for us.
func fromKubernetes(value string) bool { return strings.HasPrefix(value, "tcp://") }
